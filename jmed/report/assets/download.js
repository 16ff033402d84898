// Tables as CSV or Markdown, charts as SVG: made from what the page holds, saved by the browser.

const page_document = JSON.parse(document.getElementById("document").textContent);

const save = (name, type, text) => {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

// A cell that starts like a formula is quoted, so that no spreadsheet computes what a stranger wrote.
const csv_cell = value => {
  const text = /^[=+@\t\r]|^-(?![\d.])/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const csv = rows => "\uFEFF" + rows.map(row => row.map(cell => csv_cell(String(cell ?? ""))).join(",")).join("\r\n") + "\r\n";
const markdown_cell = text => text.replace(/[\\|`*_<>\[\]]/g, "\\$&").replace(/\s+/g, " ");
const markdown = ([head, ...rows], aligned) => [head, aligned.map(end => end ? "--:" : ":--"), ...rows]
  .map((row, line) => `| ${(line === 1 ? row : row.map(markdown_cell)).join(" | ")} |`).join("\n") + "\n";

const at_pointer = pointer => pointer.slice(1).split("/").reduce(
  (value, key) => value[key.replaceAll("~1", "/").replaceAll("~0", "~")], page_document);

const cell_text = cell => {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll(`span[lang]:not([lang="${language()}"])`).forEach(other => other.remove());
  copy.querySelectorAll("br, li + li").forEach(end => end.before(" "));
  return copy.textContent.trim();
};
// The whole figure instead of the rounded one, where a cell holds just one.
const cell_value = cell => {
  const figures = cell.querySelectorAll("[data-figure]");
  const whole = figures.length === 1 && cell_text(cell) === figures[0].textContent && !figures[0].dataset.figure.includes("*");
  return whole ? at_pointer(figures[0].dataset.figure) ?? "" : cell_text(cell);
};
// The rows of a table, cells that span rows repeated in each.
const rows_of = (table, read) => {
  const grid = [...table.rows].map(() => []);
  [...table.rows].forEach((row, y) => {
    for (const cell of row.cells) {
      let x = 0;
      while (grid[y][x] !== undefined) x++;
      for (let down = 0; down < (cell.rowSpan || 1) && y + down < grid.length; down++) grid[y + down][x] = read(cell);
    }
  });
  return grid;
};

const add_table_exports = table => {
  const name = table.dataset.export;
  const head = () => [...table.rows[0].cells].map(cell => cell.classList.contains("n"));
  const buttons = [
    element("button", { type: "button", onclick: () => save(`${name}.csv`, "text/csv", csv(rows_of(table, cell_value))) }, "CSV"),
    element("button", { type: "button", onclick: () => save(`${name}.md`, "text/markdown", markdown(rows_of(table, cell_text), head())) }, "Markdown"),
  ];
  buttons.forEach(button => labelled(button, `Save the table "${name}" as ${button.textContent}`, `表「${name}」を${button.textContent}で保存`));
  table.parentNode.after(element("div", { class: "tools" }, buttons));
};

// A chart for a paper: its own file, with the light colours written out.
const svg_text = svg => {
  const copy = svg.cloneNode(true);
  const style = getComputedStyle(document.documentElement);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("font-family", "Helvetica, Arial, 'Noto Sans CJK JP', sans-serif");
  copy.querySelectorAll("[aria-label=tip], foreignObject").forEach(tip => tip.remove());
  const colour = name => style.getPropertyValue(name).trim().replace(/^light-dark\(([^,]+),.*$/, "$1");
  return new XMLSerializer().serializeToString(copy)
    .replace(/var\((--[\w-]+)\)/g, (whole, name) => colour(name) || whole).replaceAll("currentColor", colour("--text"));
};
