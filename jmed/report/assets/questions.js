// The browser of questions: the index is read at once, texts and answers a group at a time when they are looked at.

const PER_PAGE = 25;
const MANY_RUNS = 3;  // of more the list shows a line a language, with a sign a run
const unpack = async base64 => {
  const bytes = Uint8Array.from(atob(base64), sign => sign.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
};
const [BENCHMARK, PART, SPECIALTY, ID, MARKS_OF, STEM_JA, STEM_EN] = [0, 1, 2, 3, 4, 5, 6];

class QuestionStore {
  constructor(index, groups) {
    this.index = index;
    this.groups = groups;  // packed
    this.opened = new Map();  // by number, the few that were used last
    this.texts = [];  // for the search, by number of the group
  }

  async group(number) {
    const found = this.opened.get(number) ?? await unpack(this.groups[number].textContent);
    this.opened.delete(number);
    this.opened.set(number, found);
    if (this.opened.size > 8) this.opened.delete(this.opened.keys().next().value);
    return found;
  }

  async detail(place) {
    return (await this.group(Math.floor(place / this.index.group)))[place % this.index.group];
  }

  // What the search looks in, of each question of a group: name, texts, choices and answers, not the prompts.
  async haystacks(number) {
    this.texts[number] ??= (await unpack(this.groups[number].textContent)).map((detail, offset) => {
      const question = this.index.questions[number * this.index.group + offset];
      const texts = Object.values(detail.texts).flatMap(text => [text.text ?? "", text.context ?? "", ...text.choices]);
      const answers = detail.answers.flatMap(answer => [answer.response, answer.error ?? ""]);
      return searchable([question[ID], this.index.values.specialties[question[SPECIALTY]], ...texts.flat(), ...answers.flat()].join("\n"));
    });
    return this.texts[number];
  }
}
const searchable = text => text.normalize("NFKC").toLowerCase();

// Which questions a choice of filters lets through; all of it from the index.
class Filters {
  constructor(index) {
    this.index = index;
    this.chosen = { benchmark: "", part: "", specialty: "", run: "", language: "", mark: "", disagreement: "" };
  }

  marks(question, run = this.chosen.run, language = this.chosen.language) {
    const { runs, languages } = this.index;
    const cells = [];
    runs.forEach((_, r) => languages.forEach((key, l) => {
      if ((run === "" || r === Number(run)) && (language === "" || key === language)) cells.push(question[MARKS_OF][r * languages.length + l]);
    }));
    return cells;
  }

  lets_through(question) {
    const { benchmark, part, specialty, mark, disagreement, run, language } = this.chosen;
    return (benchmark === "" || question[BENCHMARK] === Number(benchmark)) && (part === "" || question[PART] === Number(part))
      && (specialty === "" || question[SPECIALTY] === Number(specialty))
      && (mark === "" ? this.marks(question).some(one => one !== "-") || (run === "" && language === "") : this.marks(question).some(one => mark === "wrong" ? "0ue".includes(one) : one === mark))
      && (disagreement === "" || this[disagreement](question));
  }

  differs(marks) {
    const right = marks.filter(one => one !== "-").map(one => one === "1");
    return right.includes(true) && right.includes(false);
  }

  runs_disagree(question) {
    return this.index.languages.some(key => (this.chosen.language === "" || key === this.chosen.language) && this.differs(this.marks(question, "", key)));
  }

  languages_disagree(question) {
    return this.index.runs.some((_, r) => (this.chosen.run === "" || r === Number(this.chosen.run)) && this.differs(this.marks(question, r, "")));
  }

  all_wrong(question) {
    const marks = this.marks(question).filter(one => one !== "-");
    return marks.length > 0 && !marks.includes("1");
  }
}

class QuestionBrowser {
  constructor(place, store) {
    this.store = store;
    this.filters = new Filters(store.index);
    this.query = "";
    this.page = 0;
    this.search_number = 0;
    this.count = element("output", { "aria-live": "polite" });
    this.previous = element("button", { type: "button", onclick: () => this.turn(-1) }, both("← Previous", "← 前へ"));
    this.next = element("button", { type: "button", onclick: () => this.turn(1) }, both("Next →", "次へ →"));
    this.list = element("div", { class: "list" });
    const save_all = labelled(element("button", { type: "button", onclick: () => this.save() }, "CSV"), "Save the answers to the questions found as CSV", "該当する問題の回答をCSVで保存");
    place.replaceChildren(this.controls(), element("div", { class: "bar" }, this.count, save_all, this.previous, this.next), this.list);
    on_language.push(() => this.show());
  }

  controls() {
    const { values, runs, languages } = this.store.index;
    const named = list => list.map((name, place) => [String(place), name, name]).filter(([, name]) => name !== "");
    const by_name = list => named(list).sort((a, b) => a[1].localeCompare(b[1], "ja"));
    const disagreements = [["all_wrong", "no answer is right", "すべて不正解"]];
    if (languages.length > 1) disagreements.unshift(["languages_disagree", "right in one language only", "一方の言語でのみ正解"]);
    if (runs.length > 1) disagreements.unshift(["runs_disagree", "some runs right, some wrong", "モデル間で正誤が異なる"]);
    const search = element("input", { type: "search", autocomplete: "off", spellcheck: "false" });
    let waiting;
    search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => { this.query = searchable(search.value.trim()); this.find(); }, 200); });
    translated(search, "words in questions, choices, answers; or an id", "問題文・選択肢・回答・問題番号", (node, text) => node.setAttribute("placeholder", text));
    return element("div", { class: "filters", role: "search" },
      element("label", { class: "search" }, element("span", {}, both("Search", "検索")), search),
      this.select("benchmark", ["Benchmark", "ベンチマーク"], by_name(values.benchmarks)),
      this.select("part", ["Part", "区分"], by_name(values.parts)),
      this.select("specialty", ["Specialty", "診療科・領域"], by_name(values.specialties)),
      this.select("run", ["Run", "モデル"], named(runs)),
      this.select("language", ["Language", "言語"], languages.map(key => [key, ...LANGUAGE_NAMES[key]])),
      this.select("mark", ["Answer", "正誤"], [["1", "right", "正解"], ["wrong", "wrong, any kind", "不正解（すべて）"], ["u", "unread", "読み取り不能"], ["e", "failed or missing", "失敗・無回答"]]),
      this.select("disagreement", ["Disagreement", "不一致"], disagreements));
  }

  // A filter; one that leaves no choice is left out.
  select(name, label, options) {
    if (options.length < 2) return null;
    const node = element("select", { name, onchange: () => { this.filters.chosen[name] = node.value; this.find(); } },
      translated(element("option", { value: "" }), "all", "すべて"), options.map(([value, english, japanese]) => translated(element("option", { value }), harmless(english), harmless(japanese))));
    return element("label", {}, element("span", {}, both(...label)), node);
  }

  async find() {
    const number = ++this.search_number, { index } = this.store;
    let found = index.questions.map((_, place) => place).filter(place => this.filters.lets_through(index.questions[place]));
    if (this.query) found = await this.matching(found, number);
    if (found === null) return;  // another search has begun
    this.found = found;
    this.page = 0;
    this.show();
  }

  async matching(places, number) {
    const words = this.query.split(/\s+/), found = [];
    const by_group = Map.groupBy(places, place => Math.floor(place / this.store.index.group));
    for (const [group, members] of by_group) {
      const texts = await this.store.haystacks(group);
      if (number !== this.search_number) return null;
      found.push(...members.filter(place => words.every(word => texts[place % this.store.index.group].includes(word))));
    }
    return found;
  }

  turn(by) {
    this.page += by;
    this.show();
    this.list.querySelector("summary")?.focus();
  }

  show() {
    const total = this.found.length, first = this.page * PER_PAGE, last = Math.min(first + PER_PAGE, total);
    const n = number => number.toLocaleString("en");
    this.count.replaceChildren(...both(total ? `${n(first + 1)}–${n(last)} of ${n(total)} questions` : "No question fits these filters.", total ? `${n(total)}問中 ${n(first + 1)}–${n(last)}問目` : "該当する問題はありません。"));
    this.previous.disabled = this.page === 0;
    this.next.disabled = last >= total;
    this.list.replaceChildren(...this.found.slice(first, last).map(place => this.row(place)));
  }

  row(place) {
    const { index } = this.store, question = index.questions[place], stems = [question[STEM_EN], question[STEM_JA]];
    const stem = stems[language() === "ja" ? 1 : 0] || stems[0] || stems[1];
    const where = [index.values.benchmarks[question[BENCHMARK]], index.values.specialties[question[SPECIALTY]] || index.values.parts[question[PART]]];
    const mark_of = (r, l) => question[MARKS_OF][r * index.languages.length + l];
    const of_run = (run, r) => element("span", {}, index.runs.length > 1 ? element("span", { class: "unseen" }, harmless(run)) : null,
      index.languages.map((key, l) => [mark_of(r, l), key]).filter(([mark]) => mark !== "-").map(([mark, key]) => mark_sign(mark, key)));
    const of_language = (key, l) => element("span", {}, element("span", {}, both(key.toUpperCase(), key === "ja" ? "日" : "英")),
      index.runs.map((run, r) => bare_sign(mark_of(r, l), run)));
    const marks = index.runs.length > MANY_RUNS ? index.languages.filter((_, l) => index.runs.some((_, r) => mark_of(r, l) !== "-")).map(of_language) : index.runs.map(of_run);
    const node = element("details", { class: "question" }, element("summary", {}, element("span", { class: "marks" }, marks),
      element("span", { class: "id" }, harmless(question[ID]), element("small", {}, harmless(where.filter(Boolean).join(" · ")))),
      element("span", { class: "stem", lang: stem === question[STEM_JA] ? "ja" : "en" }, harmless(stem.replace(/\s+/g, " ")))));
    node.addEventListener("toggle", async () => node.append(question_detail(await this.store.detail(place), index.runs)), { once: true });
    return node;
  }

  async save() {
    const { index } = this.store;
    const rows = [["benchmark", "question_id", "specialty", "run", "language", "prompt", "method", "gold", "prediction", "correct", "error"]];
    for (const place of this.found) {
      const question = index.questions[place], detail = await this.store.detail(place);
      for (const one of detail.answers) rows.push([index.values.benchmarks[question[BENCHMARK]], question[ID], index.values.specialties[question[SPECIALTY]],
        index.runs[one.run], one.language, one.prompt, one.method, detail.texts[one.language].gold, one.prediction, one.mark === "1", one.error]);
    }
    save("questions.csv", "text/csv", csv(rows));
  }
}

const start_questions = async () => {
  const index = await unpack(document.getElementById("index").textContent);
  const browser = new QuestionBrowser(document.getElementById("browser"), new QuestionStore(index, document.querySelectorAll("script.group")));
  await browser.find();
};
