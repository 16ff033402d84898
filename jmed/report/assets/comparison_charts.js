// The charts of a comparison, from comparison.json; `value` is what the chart is drawn for.

const all = key => page_document[key];
const runs_of = rows => [...new Set(rows.map(row => row.run))];
const ACCURACY = () => one_of("accuracy (%)", "正答率（%）");
const several = (rows, key) => new Set(rows.map(row => row[key])).size > 1;
// Names no longer than needed: what differs among the rows.
const label_of = (rows, ...keys) => {
  const telling = keys.filter(key => several(rows, key));
  return row => (telling.length ? telling : keys.slice(0, 1)).map(key => key === "language" ? name_of_language(row[key]) : row[key]).join(", ");
};

charts.accuracy = ({ width, value }) => {
  const boards = all("leaderboards").filter(board => board.benchmark === value);
  const rows = boards.flatMap(board => board.ranks.map(rank => ({ ...rank, label: rank.run, series: name_of_language(board.language) })));
  return interval_chart(rows, { width, series: languages_of(boards), axis: ACCURACY() });
};
charts.differences = ({ width }) => {
  const pairs = all("pairs");
  const rows = pairs.map(pair => ({ ...pair, value: pair.difference, series: name_of_language(pair.language), label: `${pair.second} − ${pair.first}${several(pairs, "benchmark") ? `, ${pair.benchmark}` : ""}` }));
  const reach = Math.max(0.05, ...rows.flatMap(row => [Math.abs(row.ci_low), Math.abs(row.ci_high)])) * 1.05;
  const points = share => `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)}`;
  return interval_chart(rows, { width, series: languages_of(pairs), domain: [-reach, reach], zero: true, form: points, ticks: share => (share > 0 ? "+" : "") + +(100 * share).toFixed(1), axis: one_of("difference (points)", "差（ポイント）") });
};
charts.both_languages = ({ width }) => {
  const found = new Map();
  for (const board of all("leaderboards")) for (const rank of board.ranks) {
    const key = JSON.stringify([board.benchmark, rank.run]);
    found.set(key, { ...found.get(key), run: rank.run, benchmark: board.benchmark, [board.language]: rank });
  }
  const rows = [...found.values()].filter(row => row.ja && row.en);
  const label = label_of(rows, "run", "benchmark");
  return scatter_chart(rows.map(row => ({ name: label(row), series: row.run, x: row.en.value, x_low: row.en.ci_low, x_high: row.en.ci_high, y: row.ja.value, y_low: row.ja.ci_low, y_high: row.ja.ci_high })),
    { width, series: runs_of(rows), x: one_of("accuracy in English (%)", "英語の正答率（%）"), y: one_of("accuracy in Japanese (%)", "日本語の正答率（%）") });
};
charts.failures = ({ width, value }) => {
  const rows = all("failures").filter(one => one.kind === value).flatMap(one => one.parts.map(part => ({ ...one, ...part })));
  const label = row => [row.part, ...["benchmark", "language"].filter(key => several(rows, key)).map(key => key === "language" ? name_of_language(row[key]) : row[key])].join(", ");
  return interval_chart(rows.map(row => ({ ...row, label: label(row), series: row.run })), { width, series: runs_of(rows), axis: ACCURACY() });
};
charts.prompts = ({ width }) => {
  const rows = all("prompts");
  return interval_chart(rows.map(row => ({ ...row, label: `${several(rows, "model") ? `${row.model}, ` : ""}${row.prompt}${several(rows, "benchmark") ? `, ${row.benchmark}` : ""}`, series: name_of_language(row.language) })), { width, series: languages_of(rows), axis: ACCURACY() });
};
charts.reliability = ({ width }) => {
  const curves = all("calibration"), label = label_of(curves, "run", "benchmark", "language");
  const rows = curves.flatMap(one => one.curve.map(bin => ({ series: label(one), x: bin.confidence, y: bin.accuracy, low: bin.ci_low, high: bin.ci_high })));
  return line_chart(rows, { width, series: curves.map(label), diagonal: true, x: { ...SHARE_AXIS, label: one_of("confidence (%)", "確信度（%）") }, y: { ...SHARE_AXIS, label: ACCURACY() } });
};
charts.coverage = ({ width }) => {
  const curves = all("calibration"), label = label_of(curves, "run", "benchmark", "language");
  const rows = curves.flatMap(one => one.coverage.map((share, place) => ({ series: label(one), x: share, y: one.accuracy[place] })));
  return line_chart(rows, { width, series: curves.map(label), dots: false, x: { ...SHARE_AXIS, label: one_of("share answered (%)", "回答した割合（%）") }, y: { ...SHARE_AXIS, label: ACCURACY() } });
};
charts.position = ({ width, value }) => {
  const [chosen, right] = [one_of("chosen", "選択"), one_of("right", "正答")];
  const rows = all("position").filter(one => one.run === value).flatMap(one => ["predicted", "gold"].flatMap(kind => {
    const total = d3.sum(Object.values(one[kind]));
    return Object.entries(one[kind]).map(([place, n]) => ({ label: several(all("position"), "language") ? `${place}, ${name_of_language(one.language)}` : place, series: kind === "gold" ? right : chosen, value: n / total, ci_low: n / total, ci_high: n / total }));
  }));
  return interval_chart(rows, { width, series: [chosen, right], domain: [0, Math.max(0.4, ...rows.map(row => row.value)) * 1.05], axis: one_of("share of the questions (%)", "問題に占める割合（%）") });
};
charts.loss = ({ width }) => {
  const label = label_of(all("training"), "run", "name");
  const rows = all("training").flatMap(one => one.steps.map(step => ({ series: label(one), x: step.step, y: step.loss })));
  return line_chart(rows, { width, series: [...new Set(all("training").map(label))], dots: false, x: { label: one_of("step", "ステップ") }, y: { label: one_of("loss", "損失"), domain: [0, d3.max(rows, row => row.y) ?? 1] } });
};
charts.epochs = ({ width }) => {
  const exams = all("training").flatMap(one => accuracies(one.exams).map(exam => ({ ...exam, run: one.run, name: one.name })));
  const label = label_of(exams, "run", "name", "benchmark", "language");
  return line_chart(exams.map(exam => ({ series: label(exam), x: exam.epoch, y: exam.value, low: exam.ci_low, high: exam.ci_high })),
    { width, series: [...new Set(exams.map(label))], x: { label: one_of("epoch", "エポック") }, y: { ...SHARE_AXIS, label: ACCURACY() } });
};
charts.candidates = ({ width }) => {
  const exams = all("exams"), label = label_of(exams, "exam", "run", "language");
  const students = all("exam_students").map(exam => ({ ...exam, series: "students", label: [several(exams, "exam") ? exam.exam : "", one_of("students (mean)", "受験者（平均）")].filter(Boolean).join(", ") }));
  const rows = [...exams.map(exam => ({ ...exam, series: exam.run, label: label(exam) })), ...students].sort((a, b) => d3.ascending(a.exam, b.exam));
  return exam_chart(exam_rows(rows), { width, series: [...new Set(rows.map(row => row.series))] });
};
