// The words of the page, and in which language it speaks.

import ar from "./text.ar.js";
import de from "./text.de.js";
import en from "./text.en.js";
import fa from "./text.fa.js";
import fr from "./text.fr.js";

const CATALOGUES = { en, de, fr, ar, fa };
const WRITTEN_FROM_THE_RIGHT = new Set(["ar", "fa"]);

export const LANGUAGES = [["en", "English"], ["de", "Deutsch"], ["fr", "Français"], ["ar", "العربية"], ["fa", "فارسی"]];

let current = "en";

/** Chooses this language; without one, the address's (`?lang=`), else the first of the browser's that we have. */
export function chooseLanguage(wanted) {
  const asked = new URLSearchParams(location.search).get("lang");
  const wishes = wanted ? [wanted] : [asked, ...navigator.languages].filter(Boolean);
  current = wishes.map((wish) => wish.split("-")[0].toLowerCase()).find((wish) => Object.hasOwn(CATALOGUES, wish)) ?? "en";
  document.documentElement.lang = current;
  document.documentElement.dir = WRITTEN_FROM_THE_RIGHT.has(current) ? "rtl" : "ltr";
  return current;
}

export const say = (key) => CATALOGUES[current][key] ?? en[key] ?? key;

/** Translates what stands in the page itself. */
export function translatePage() {
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
}
