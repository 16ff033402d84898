// The charts of one run, from results.json.

const languages_of = rows => ["ja", "en", "ja-en", "en-ja"].filter(key => rows.some(row => row.language === key)).map(name_of_language);
const as_interval = (row, label) => ({ ...row, label, series: name_of_language(row.language) });
const accuracies = rows => rows.filter(row => row.metric === "accuracy");

charts.scores = ({ width }) => {
  const rows = accuracies(page_document.scores);
  return interval_chart(rows.map(row => as_interval(row, row.benchmark)), { width, series: languages_of(rows), axis: one_of("accuracy (%)", "正答率（%）") });
};
const part_rows = () => {
  const whole = new Set(page_document.scores.map(row => row.benchmark));
  return accuracies(page_document.subsets).filter(row => !whole.has(row.benchmark));
};
charts.subsets = ({ width }) => {
  const rows = part_rows();
  return interval_chart(rows.map(row => as_interval(row, row.benchmark)), { width, series: languages_of(rows), axis: one_of("accuracy (%)", "正答率（%）") });
};
charts.languages = ({ width }) => {
  const english = new Map(part_rows().filter(row => row.language === "en").map(row => [row.benchmark, row]));
  const rows = part_rows().filter(row => row.language === "ja" && english.has(row.benchmark)).map(row => {
    const other = english.get(row.benchmark);
    return { name: row.benchmark, series: "", x: other.value, x_low: other.ci_low, x_high: other.ci_high, y: row.value, y_low: row.ci_low, y_high: row.ci_high };
  });
  return scatter_chart(rows, { width, x: one_of("accuracy in English (%)", "英語の正答率（%）"), y: one_of("accuracy in Japanese (%)", "日本語の正答率（%）") });
};
charts.exams = ({ width }) => exam_chart(exam_rows(page_document.exams.map(exam => ({ ...exam, label: `${exam.exam}, ${name_of_language(exam.language)}` }))), { width });
