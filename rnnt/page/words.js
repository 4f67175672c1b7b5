// The transcript on the page: words that can be clicked, and the text that may still change.

/** Shows a transcript in an element. audio: the element that plays its recording, once it has one. */
export class Words {
  #home;
  #partial;
  #audio;
  #words = []; // {element, start, end}
  #until = Infinity; // where playing stops
  #spoken = null;

  constructor(home, partial, audio) {
    [this.#home, this.#partial, this.#audio] = [home, partial, audio];
    home.addEventListener("click", (event) => this.#play(event.target));
    home.addEventListener("keydown", (event) => this.#key(event));
    audio.addEventListener("play", () => this.#follow());
    audio.addEventListener("seeking", () => (this.#until = Infinity));
  }

  clear() {
    this.#words = [];
    this.#home.replaceChildren(this.#partial);
    this.showPartial("");
  }

  /** Show text that may still change. */
  showPartial(text) {
    this.#partial.textContent = text;
    this.#partial.hidden = !text;
    this.#scroll();
  }

  /** Add a paragraph of final text. */
  add(text, words) {
    const paragraph = document.createElement("p");
    let place = 0;
    for (const word of words) {
      const found = text.indexOf(word.word, place);
      if (found < 0) continue;
      paragraph.append(text.slice(place, found), this.#button(word));
      place = found + word.word.length;
    }
    paragraph.append(text.slice(place));
    this.#partial.before(paragraph);
    this.#scroll();
  }

  #button({ word, start, end, confidence }) {
    const element = document.createElement("span");
    element.className = "word";
    element.textContent = word;
    element.setAttribute("role", "button");
    element.tabIndex = this.#words.length ? -1 : 0; // one stop of the tab key; the arrow keys do the rest
    element.title = `${start.toFixed(2)} s to ${end.toFixed(2)} s, ${Math.round(100 * confidence)} % sure`;
    element.style.setProperty("--doubtful", Math.min(1, Math.max(0, 1 - confidence)).toFixed(2));
    element.dataset.number = this.#words.length;
    this.#words.push({ element, start, end });
    return element;
  }

  #scroll() {
    this.#home.scrollTop = this.#home.scrollHeight;
  }

  #play(element) {
    const word = this.#words[element.dataset?.number];
    if (!word || !this.#audio.src || !getSelection().isCollapsed) return;
    this.#audio.currentTime = Math.max(0, word.start - 0.03);
    this.#audio.addEventListener("seeked", () => (this.#until = word.end + 0.05), { once: true });
    this.#audio.play();
  }

  #key(event) {
    const number = Number(event.target.dataset?.number ?? NaN);
    const other = { ArrowLeft: number - 1, ArrowRight: number + 1, Home: 0, End: this.#words.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") this.#play(event.target);
    else if (this.#words[other]) {
      event.target.tabIndex = -1;
      this.#words[other].element.tabIndex = 0;
      this.#words[other].element.focus();
    } else return;
    event.preventDefault();
  }

  #follow() {
    const now = this.#audio.currentTime;
    if (now >= this.#until) {
      this.#audio.pause();
      this.#until = Infinity;
    }
    const word = this.#words.find(({ start, end }) => start <= now && now < end);
    this.#spoken?.classList.remove("spoken");
    this.#spoken = this.#audio.paused ? null : word?.element;
    this.#spoken?.classList.add("spoken");
    if (!this.#audio.paused) requestAnimationFrame(() => this.#follow());
  }
}
