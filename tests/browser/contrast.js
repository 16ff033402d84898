// Every text that is seen whose contrast with the nearest opaque ground is below 4.5 (WCAG 2.2, criterion 1.4.3).
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const parts = colour => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const linear = value => value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const ground_of = node => {
  for (let one = node; one; one = one.parentElement) {
    const colour = getComputedStyle(one).backgroundColor;
    if (parts(colour)[3] === 255) return colour;
  }
  return "white";
};
const texts = new Set();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (walker.currentNode.textContent.trim() && node.checkVisibility() && !node.closest("button:disabled")) texts.add(node);
}
const ratios = new Map(), poor = [];
for (const node of texts) {
  const style = getComputedStyle(node), colour = node.closest("svg") ? style.fill : style.color;
  const pair = `${colour} on ${ground_of(node)}`;
  if (!ratios.has(pair)) {
    const [one, other] = [colour, ground_of(node)].map(parts).map(luminance);
    ratios.set(pair, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05));
  }
  if (ratios.get(pair) < 4.5) poor.push(`${node.outerHTML.slice(0, 80)}: ${pair}: ${ratios.get(pair)}`);
}
return [ratios.size, poor];
