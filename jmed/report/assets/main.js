// The page begins: contents, switches, charts, exports, and then the questions.

const start_contents = () => document.querySelector(".contents").append(...[...document.querySelectorAll("section > h2[id]")].map(
  heading => element("a", { href: `#${heading.id}` }, [...heading.childNodes].map(node => node.cloneNode(true)))));

document.addEventListener("change", event => { if (event.target.name === "language") choose_language(event.target.id); });
choose_language(navigator.languages.map(tag => tag.slice(0, 2)).find(tag => tag === "ja" || tag === "en") ?? "en");
start_contents();
start_charts();
document.querySelectorAll("table[data-export]").forEach(add_table_exports);
start_questions().then(() => { performance.mark("ready"); document.documentElement.dataset.ready = "yes"; });
