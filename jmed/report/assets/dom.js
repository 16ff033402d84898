// Elements are made here, always from text: nothing of the data is ever read as HTML.

const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
  return node;
};

// Signs that would move, hide or reverse text, except line ends and tabs, are shown as their numbers.
const SIGNS = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const number_of = sign => "U+" + sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
const harmless = text => text.replace(SIGNS, number_of);
const visible = text => {
  if (Array.isArray(text)) {  // [start, number of characters that are left out, end]
    const [start, left_out, end] = text;
    const note = both(`… ${left_out.toLocaleString("en")} characters are left out here; answers.parquet holds all …`,
      `…ここで${left_out.toLocaleString("en")}文字を省略しています（全文は answers.parquet にあります）…`);
    return [visible(start), element("span", { class: "cut" }, "\n", note, "\n"), visible(end)];
  }
  const pieces = [];
  let last = 0;
  for (const found of text.matchAll(SIGNS)) {
    pieces.push(text.slice(last, found.index), element("span", { class: "sign" }, number_of(found[0])));
    last = found.index + found[0].length;
  }
  return [...pieces, text.slice(last)];
};
