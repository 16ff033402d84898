// What all charts have in common. They are drawn by Observable Plot into the page's own SVG, with the page's colours.

const COLOURS = ["var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)"];
const SYMBOLS = ["circle", "diamond2", "triangle", "square", "star", "wye"];
const SIGNS_OF_SYMBOLS = ["●", "◆", "▲", "■", "★", "Y"];
const WIDEST_LABEL = 240;
const STYLE = { fontSize: "12px" };
const percent = share => `${(100 * share).toFixed(1)} %`;
const charts = {};  // by the name in data-chart: ({ width }) => a Plot, or null where there is nothing to draw

const width_of = text => [...text].reduce((sum, sign) => sum + (sign.codePointAt(0) > 0x2e7f ? 13 : 7), 0);
const label_margin = (labels, width) => Math.min(Math.max(...labels.map(width_of)) + 16, WIDEST_LABEL, width * 0.42);
const style_of = (names, name) => Math.max(0, names.indexOf(name)) % COLOURS.length;

// The legend stands in the picture, so that a saved picture has it too.
const legend = names => {
  if (names.length < 2) return [];
  let left = 0;
  return names.map((name, place) => {
    const mark = Plot.text([`${SIGNS_OF_SYMBOLS[place % 6]} ${harmless(name)}`], { frameAnchor: "top-left", dx: left, dy: -18, textAnchor: "start", fill: COLOURS[place % 6], fontWeight: 600 });
    left += width_of(name) + 30;
    return mark;
  });
};

// Rows of { label, group, series, value, ci_low, ci_high }: a point with its interval each, a line a label.
const interval_chart = (rows, { width, series, domain = [0, 1], form = percent, axis = "", zero = false, ticks }) => {
  if (!rows.length) return null;
  const labels = [...new Set(rows.map(row => row.label))];
  const place = row => style_of(series, row.series);
  const members = d3.rollup(rows, group => group.length, row => row.label), alone = row => members.get(row.label) === 1;
  const shift = row => series.length < 2 ? 0 : (series.indexOf(row.series) - (series.length - 1) / 2) * Math.min(11, 22 / series.length);
  const line = Math.max(...members.values()) === 1 ? 24 : 14 + 11 * series.length;
  const marginLeft = label_margin(labels.map(harmless), width);
  const by_series = series.flatMap(name => {
    const of_name = rows.filter(row => row.series === name);
    return [of_name.filter(row => alone(row)), of_name.filter(row => !alone(row))].filter(mine => mine.length).flatMap(mine => {
    const dy = alone(mine[0]) ? 0 : shift(mine[0]), stroke = COLOURS[place(mine[0])];
    return [
      Plot.ruleY(mine, { y: "label", x1: "ci_low", x2: "ci_high", stroke, strokeWidth: 2.5, strokeOpacity: 0.65, dy }),
      Plot.dot(mine, { y: "label", x: "value", r: 4.5, fill: stroke, symbol: SYMBOLS[place(mine[0])], dy,
        title: row => `${harmless(row.label)}${series.length > 1 ? `, ${harmless(row.series)}` : ""}: ${form(row.value)} (${form(row.ci_low)} – ${form(row.ci_high)})`, tip: true }),
    ];
    });
  });
  return Plot.plot({
    style: STYLE, width, marginLeft, marginRight: 20, marginTop: series.length > 1 ? 30 : 12, marginBottom: 44, height: 66 + (series.length > 1 ? 20 : 0) + line * labels.length,
    x: { domain, percent: false, grid: true, label: axis, tickFormat: ticks ?? (share => (100 * share).toFixed(0)), ticks: width < 480 ? 5 : 10 },
    y: { domain: labels, label: null, padding: 0.3 },
    marks: [
      Plot.axisY({ tickSize: 0, lineWidth: (marginLeft - 12) / 12, textOverflow: "ellipsis", tickFormat: harmless }),
      zero ? Plot.ruleX([0], { stroke: "var(--edge)" }) : null, ...by_series, ...legend(series),
    ],
  });
};

// Rows of { x, y, name, series }: shares in two languages, with the line where both are equal.
const scatter_chart = (rows, { width, x, y, series = [""] }) => {
  if (!rows.length) return null;
  const side = Math.min(width, 560), spread = d3.extent(rows.flatMap(row => [row.x, row.y, row.x_low, row.x_high, row.y_low, row.y_high].filter(Number.isFinite)));
  const domain = [Math.max(0, spread[0] - 0.05), Math.min(1, spread[1] + 0.05)];  // the same on both axes
  return Plot.plot({
    style: STYLE, width: side, height: side * 0.86, marginLeft: 52, marginBottom: 44, marginTop: series.length > 1 ? 50 : 24, marginRight: 20,
    x: { domain, label: x, tickFormat: share => (100 * share).toFixed(0), grid: true, ticks: 5 }, y: { domain, label: y, tickFormat: share => (100 * share).toFixed(0), grid: true, ticks: 5 },
    marks: [
      Plot.line(domain.map(end => [end, end]), { stroke: "var(--edge)", strokeDasharray: "4 4" }),
      rows[0].x_low === undefined ? null : Plot.link(rows, { x1: "x_low", x2: "x_high", y1: "y", y2: "y", stroke: row => COLOURS[style_of(series, row.series)], strokeOpacity: 0.45 }),
      rows[0].y_low === undefined ? null : Plot.link(rows, { x1: "x", x2: "x", y1: "y_low", y2: "y_high", stroke: row => COLOURS[style_of(series, row.series)], strokeOpacity: 0.45 }),
      Plot.dot(rows, { x: "x", y: "y", r: 5, fill: row => COLOURS[style_of(series, row.series)], symbol: row => SYMBOLS[style_of(series, row.series)], title: row => `${harmless(row.name)}: ${percent(row.x)}, ${percent(row.y)}`, tip: true }),
      rows.length > 12 || series.length > 1 ? null : Plot.text(rows, { x: "x", y: "y", text: row => harmless(row.name), dx: 8, dy: -9, textAnchor: "start", stroke: "var(--page)", fill: "currentColor" }),
      ...legend(series),
    ],
    symbol: { type: "identity" }, color: { type: "identity" },
  });
};

// Rows of { x, y, series, low, high }: lines, with points and their intervals where there are any.
const line_chart = (rows, { width, series, x, y, dots = true, diagonal = false }) => {
  if (!rows.length) return null;
  const side = Math.min(width, diagonal ? 560 : 860), colour = row => COLOURS[style_of(series, row.series)];
  return Plot.plot({
    style: STYLE, width: side, height: diagonal ? side * 0.86 : 340, marginLeft: 52, marginBottom: 44, marginTop: series.length > 1 ? 50 : 24, marginRight: 20,
    x: { grid: true, ...x }, y: { grid: true, ...y }, color: { type: "identity" }, symbol: { type: "identity" },
    marks: [
      diagonal ? Plot.line([[0, 0], [1, 1]], { stroke: "var(--edge)", strokeDasharray: "4 4" }) : null,
      Plot.line(rows, { x: "x", y: "y", z: "series", stroke: colour, strokeWidth: 1.75 }),
      rows.some(row => row.low !== undefined) ? Plot.ruleX(rows.filter(row => row.low !== undefined), { x: "x", y1: "low", y2: "high", stroke: colour, strokeOpacity: 0.5 }) : null,
      dots ? Plot.dot(rows, { x: "x", y: "y", r: 4, fill: colour, symbol: row => SYMBOLS[style_of(series, row.series)], title: row => `${harmless(row.series)}: ${row.y.toPrecision(4)} (${row.x.toPrecision(4)})`, tip: true }) : null,
      ...legend(series),
    ],
  });
};
const SHARE_AXIS = { domain: [0, 1], tickFormat: share => (100 * share).toFixed(0), ticks: 5 };

// Rows of { label, part, points, max, mark, series }: what was reached of what there was, against the pass mark.
const exam_chart = (rows, { width, series = [""] }) => {
  if (!rows.length) return null;
  const fill = row => COLOURS[style_of(series, row.series)];
  const labels = [...new Set(rows.map(row => row.label))], parts = [...new Set(rows.map(row => row.part))];
  const marginLeft = label_margin(labels.map(harmless), width);
  return Plot.plot({
    style: STYLE, width, marginLeft, marginRight: 20, marginTop: 26, marginBottom: 44, height: 70 + parts.length * (30 + 26 * labels.length),
    x: { label: one_of("points", "点"), grid: true, domain: [0, Math.max(...rows.map(row => row.max))] }, y: { domain: labels, label: null, padding: 0.3 }, fy: { domain: parts, label: null, axis: null, padding: 0.2 }, color: { type: "identity" },
    marks: [
      Plot.text(parts, { fy: part => part, text: part => part, frameAnchor: "top-left", dy: -13, fontWeight: 600 }),
      Plot.axisY({ tickSize: 0, lineWidth: (marginLeft - 12) / 12, textOverflow: "ellipsis", tickFormat: harmless }),
      Plot.barX(rows, { fy: "part", y: "label", x: "max", fill, fillOpacity: 0.18 }),
      Plot.barX(rows, { fy: "part", y: "label", x: "points", fill, title: row => `${harmless(row.label)}, ${row.part}: ${row.points}/${row.max}${row.mark === null ? "" : ` (${one_of("pass mark", "合格基準")} ${row.mark})`}`, tip: true }),
      Plot.tickX(rows.filter(row => row.mark !== null), { fy: "part", y: "label", x: "mark", stroke: "var(--page)", strokeWidth: 6 }),
      Plot.tickX(rows.filter(row => row.mark !== null), { fy: "part", y: "label", x: "mark", stroke: "currentColor", strokeWidth: 3 }),
    ],
  });
};
const exam_rows = exams => ["compulsory", "general"].flatMap((part, place) => exams.map(exam => ({
  label: exam.label, series: exam.series ?? "", part: [one_of("Compulsory blocks", "必修問題"), one_of("General and clinical blocks", "一般問題・臨床実地問題")][place],
  points: exam[`${part}_points`], max: exam[`${part}_max`], mark: exam.pass_marks ? exam.pass_marks[place] : null,
})));

// Draw a figure into its place; one without data is taken away.
const PAPER_WIDTH = 680;  // pixels between the margins of a sheet
const draw_figure = (figure, width) => {
  const place = figure.querySelector(".plot");
  const plot = charts[figure.dataset.chart]({ ...figure.dataset, width: width ?? Math.max(280, place.clientWidth) });
  figure.hidden = plot === null;
  if (!plot) return;
  const caption = cell_text(figure.querySelector(`figcaption > span[lang="${language()}"]`));
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", `${caption}. ${one_of("The same figures stand in the table that follows.", "同じ数値は続く表にあります。")}`);
  place.replaceChildren(plot);
};
const start_charts = () => {
  const figures = [...document.querySelectorAll("[data-chart]")];
  for (const figure of figures) {
    const name = figure.dataset.chart;
    const button = element("button", { type: "button", onclick: () => save(`${name}.svg`, "image/svg+xml", svg_text(figure.querySelector("svg"))) }, "SVG");
    labelled(button, `Save the chart "${name}" as SVG`, `図「${name}」をSVGで保存`);
    figure.querySelector("figcaption").append(element("span", { class: "tools" }, button));
    draw_figure(figure);
  }
  const redraw = () => figures.forEach(figure => draw_figure(figure));
  let width = document.body.clientWidth, waiting, printing = false;  // on paper the window's width means nothing
  window.addEventListener("beforeprint", () => {
    printing = true;
    clearTimeout(waiting);
    figures.forEach(figure => draw_figure(figure, PAPER_WIDTH));
  });
  window.addEventListener("afterprint", () => { printing = false; redraw(); });
  on_language.push(redraw);
  new ResizeObserver(() => {
    if (printing || document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 100);
  }).observe(document.body);
};
