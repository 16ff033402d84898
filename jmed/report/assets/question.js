// One question: its texts and choices in both languages side by side, and what each run answered.

const MARKS = {
  1: ["right", "✓", "right", "正解"], 0: ["wrong", "✗", "wrong", "不正解"], u: ["unread", "?", "unread", "読み取り不能"],
  e: ["failed", "!", "failed or missing", "失敗・無回答"], "-": ["none", "·", "not asked", "出題なし"],
};
const LETTERS = "abcdefghijklmnopqrstuvwxyz";

// A mark as a sign and, for readers who do not see it, as words.
const mark_sign = (mark, language) => {
  const [kind, sign, english, japanese] = MARKS[mark];
  const name = LANGUAGE_NAMES[language] ?? [language, language];
  return element("span", { class: `mark ${kind}` }, element("span", { "aria-hidden": "true" }, ...(language ? both(language.toUpperCase(), language === "ja" ? "日" : "英") : []), sign),
    element("span", { class: "unseen" }, both(`${language ? name[0] + ": " : ""}${english}; `, `${language ? name[1] + "：" : ""}${japanese}。`)));
};
const bare_sign = (mark, run) => {
  const [kind, sign, english, japanese] = MARKS[mark];
  return element("span", { class: `bare ${kind}` }, element("span", { "aria-hidden": "true" }, sign), element("span", { class: "unseen" }, harmless(run), both(`: ${english}; `, `：${japanese}。`)));
};
const mark_word = mark => {
  const [kind, sign, english, japanese] = MARKS[mark];
  return element("span", { class: `mark ${kind}` }, element("span", { "aria-hidden": "true" }, sign), " ", both(english, japanese));
};
const letters_of = answer => answer ? answer.split(/,| or /) : [];

const choice_list = (text, answers, runs) => element("ol", { class: "choices" }, text.choices.map((choice, place) => {
  const letter = LETTERS[place], gold = letters_of(text.gold).includes(letter);
  const tags = [];
  if (gold) tags.push(element("span", { class: "tag gold" }, both("right answer", "正答")));
  if ((text.prohibited ?? []).includes(letter)) tags.push(element("span", { class: "tag prohibited" }, both("prohibited choice", "禁忌肢")));
  for (const run of new Set(answers.filter(one => letters_of(one.prediction).includes(letter)).map(one => one.run))) {
    const name = runs.length > 1 ? harmless(runs[run]) : null;
    tags.push(element("span", { class: "tag picked" }, name ? both(`chosen by ${name}`, `${name} の回答`) : both("chosen", "モデルの回答")));
  }
  return element("li", { class: gold && "gold" }, element("b", {}, letter), element("span", { class: "text" }, visible(choice)), tags.length ? element("span", { class: "tags" }, tags) : null);
}));

const term = (english, japanese, value) => element("div", {}, element("dt", {}, both(english, japanese)), element("dd", {}, value));
const folded = (english, japanese, make) => {
  const node = element("details", {}, element("summary", {}, both(english, japanese)));
  node.addEventListener("toggle", () => node.append(make()), { once: true });
  return node;
};
const logprob_table = answer => element("table", { class: "logprobs" },
  element("thead", {}, element("tr", {}, element("th", { scope: "col" }, both("continuation", "続き")), element("th", { scope: "col", class: "n" }, both("log-probability", "対数確率")))),
  element("tbody", {}, answer.continuations.map((one, place) => element("tr", {}, element("td", { class: "text" }, visible(one)), element("td", { class: "n" }, (answer.option_logprobs[place] ?? NaN).toFixed(4))))));

const answer_card = (answer, prompts, runs, many) => element("div", { class: "answer" },
  element("h5", {}, mark_word(answer.mark), runs.length > 1 ? element("span", {}, harmless(runs[answer.run])) : null,
    many ? element("code", {}, harmless([answer.prompt, answer.method, answer.variant].filter(Boolean).join("/"))) : null),
  element("dl", {}, term("Answer read", "読み取った回答", answer.prediction ? harmless(answer.prediction) : both("none", "なし")),
    answer.tokens_in ? term("Tokens in / out", "トークン（入力/出力）", `${answer.tokens_in.toLocaleString("en")} / ${answer.tokens_out.toLocaleString("en")}`) : null),
  answer.error === null ? null : element("p", { class: "failed text" }, visible(answer.error)),
  answer.continuations.length ? folded("Log-probabilities of the options", "選択肢の対数確率", () => logprob_table(answer)) : element("pre", { tabindex: "0" }, answer.response.length ? visible(answer.response) : both("(empty response)", "（応答なし）")),
  prompts[answer.prompt_text].length ? folded("Exact prompt", "実際のプロンプト", () => element("pre", { tabindex: "0" }, visible(prompts[answer.prompt_text]))) : null);

const side = (key, detail, runs) => {
  const text = detail.texts[key], answers = detail.answers.filter(one => one.language === key);
  const many = new Set(answers.map(one => one.run)).size < answers.length;
  return element("section", { class: "side" }, element("h4", {}, both(...LANGUAGE_NAMES[key] ?? [key, key])),
    element("div", { lang: key },
      text.context?.length ? folded("Context", "前提となる文章", () => element("p", { class: "text" }, visible(text.context))) : null,
      text.text !== undefined ? element("p", { class: "text" }, visible(text.text)) : null,
      text.image ? element("p", { class: "note" }, both("This question has an image, which the model does not see.", "画像のある問題です（モデルは画像を見ていません）。")) : null),
    text.choices.length ? choice_list(text, answers, runs) : null,
    element("p", { class: "note" }, both("Gold: ", "正答："), element("b", {}, harmless(text.gold || "–"))),
    answers.map(answer => answer_card(answer, detail.prompts, runs, many)));
};
const question_detail = (detail, runs) => element("div", { class: "detail" },
  element("div", { class: "sides" }, Object.keys(detail.texts).sort().reverse().map(key => side(key, detail, runs))));
