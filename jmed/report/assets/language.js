// The page holds every text of its interface in both languages; the switch shows one of them.

const language = () => document.documentElement.lang;
const both = (english, japanese) => [element("span", { lang: "en" }, english), element("span", { lang: "ja" }, japanese)];
const one_of = (english, japanese) => language() === "ja" ? japanese : english;
const LANGUAGE_NAMES = { ja: ["Japanese", "日本語"], en: ["English", "英語"] };
const name_of_language = key => one_of(...(LANGUAGE_NAMES[key] ?? BETWEEN_LANGUAGES[key] ?? [key, key]));
const BETWEEN_LANGUAGES = { "ja-en": ["Japanese against English", "日本語と英語"], "en-ja": ["English against Japanese", "英語と日本語"] };

// Attributes and options cannot hold two spans: they are written anew when the language changes.
const translations = new Map();
const translated = (node, english, japanese, write = (node, text) => { node.textContent = text; }) => {
  translations.set(node, () => write(node, one_of(english, japanese)));
  translations.get(node)();
  return node;
};
const labelled = (node, english, japanese) => translated(node, english, japanese, (node, text) => node.setAttribute("aria-label", text));
const forget = nodes => nodes.forEach(node => translations.delete(node));
const on_language = [];

const choose_language = id => {
  document.documentElement.lang = id;
  document.getElementById(id).checked = true;
  for (const write of translations.values()) write();
  for (const follow of on_language) follow();
};
