"use strict";
// The search page. The address holds what is shown (#q=... or #like=...), so that back, forward and reload work.
const by = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const LIVE = 6; // clips that play at once: more would make an old machine stutter
let frames = 6;
const PAGE = 24, MOST = 192; // videos shown at first, and each time that more are asked for
let turn = 0; // of two answers under way, the older one is dropped

async function ask(path) {
  const answer = await fetch(path);
  const found = await answer.json();
  // Ours have an error and a hint, the framework's own a detail: a text, or a list of what was wrong.
  const details = [found.detail ?? []].flat().map((one) => one.msg ?? one);
  if (!answer.ok) throw new Error([found.error, found.hint, ...details].filter(Boolean).join(" — ") || "the server said no");
  return found;
}

function clock(seconds) {
  const whole = Math.floor(seconds + 0.05);
  const parts = whole >= 3600 ? [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60] : [Math.floor(whole / 60), whole % 60];
  return parts.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}
// To the tenth, where spans begin less than a second apart: 0:01, 0:01.5
const instant = (seconds) => clock(seconds) + (Math.abs(seconds - Math.round(seconds)) < 0.05 ? "" : `.${Math.floor((seconds % 1) * 10 + 0.5) % 10}`);
const span = (hit) => (hit.start_s === null ? "" : `${clock(hit.start_s)}–${clock(hit.end_s)}`);
const picture = (row, n) => `frame/${row}/${n}.jpg`;

// ---- a clip: a video that loops over its span, or, where the browser cannot play it, pictures of the span in turn
function clip(hit, { controls = false, whole = false } = {}) {
  const image = Object.assign(new Image(), { alt: "", src: picture(hit.row, 0) });
  const self = { image, video: null, timer: 0, playing: false, hit, onfallback: () => {} };
  const fallback = () => {
    self.video?.remove();
    self.video = null;
    hit.plays = false;
    self.onfallback();
    if (self.playing) self.play();
  };
  const make = () => {
    const video = document.createElement("video");
    Object.assign(video, { muted: !controls, playsInline: true, preload: "auto", controls, loop: hit.start_s === null });
    video.addEventListener("error", fallback);
    video.addEventListener("loadedmetadata", () => {
      if (!video.videoWidth) return fallback(); // sound alone: the picture's codec is not known here
      if (hit.start_s) video.currentTime = hit.start_s;
    });
    const again = () => {
      video.currentTime = hit.start_s || 0;
      if (self.playing) video.play().catch(() => {});
    };
    video.addEventListener("timeupdate", () => {
      if (!whole && hit.end_s && video.currentTime >= hit.end_s - 0.03) again();
    });
    video.addEventListener("ended", () => { if (!whole) again(); });
    video.addEventListener("playing", () => video.classList.add("on"));
    video.src = `video/${hit.row}`;
    self.video = video;
    image.after(video);
  };
  self.play = () => {
    self.playing = true;
    if (hit.plays) {
      if (!self.video) make();
      self.video.play().catch(() => {});
    } else if (!self.timer) {
      let n = 0;
      self.timer = setInterval(() => { image.src = picture(hit.row, (n = (n + 1) % frames)); }, 450);
    }
  };
  self.pause = () => {
    self.playing = false;
    self.video?.pause();
    clearInterval(self.timer);
    self.timer = 0;
  };
  return self;
}

// ---- cards
const clips = new Map(); // article -> clip
const seen = new Set(); // articles on screen
const watch = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) isIntersecting ? seen.add(target) : seen.delete(target);
  settle();
}, { threshold: 0.6 });

// The cards on screen play, from the top, and the one that is pointed at or focused always.
function settle() {
  if (by("viewer").open) return clips.forEach((one) => one.pause());
  const chosen = [...clips.keys()].filter((article) => article.matches(":hover, :focus-within"));
  const rest = still ? [] : [...clips.keys()].filter((article) => seen.has(article) && !chosen.includes(article));
  const live = new Set([...chosen, ...rest].slice(0, LIVE));
  clips.forEach((one, article) => (live.has(article) ? one.playing || one.play() : one.playing && one.pause()));
}

function card(hit, best) {
  const item = by("card").content.cloneNode(true);
  const article = item.querySelector("article");
  const find = (name) => article.querySelector(name);
  const shown = clip(hit);
  find("img").replaceWith(shown.image);
  shown.image.addEventListener("error", () => { note.textContent = "The file is not where it was"; note.hidden = false; }, { once: true });
  const note = find(".note");
  shown.onfallback = () => { note.textContent = "Pictures: no codec for this file"; note.hidden = false; };
  if (!hit.plays) { note.textContent = "Pictures of the clip"; note.hidden = false; }
  find(".time").textContent = span(hit);
  find(".time").hidden = hit.start_s === null;
  find(".caption").textContent = hit.caption.split(" | ")[0] || hit.id; // the large view shows all of several
  find(".id").textContent = hit.caption ? hit.id : "";
  find(".id").hidden = !hit.caption;
  find(".score b").textContent = hit.score.toFixed(3);
  find(".score i").style.setProperty("--part", `${Math.max(0, Math.min(1, hit.score / best)) * 100}%`);
  find(".more").addEventListener("click", (event) => { event.stopPropagation(); go({ like: hit.row }); });
  for (const moment of hit.moments) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: instant(moment.start_s || 0), title: `score ${moment.score.toFixed(3)}` });
    button.addEventListener("click", (event) => { event.stopPropagation(); view({ ...hit, ...moment }); });
    find(".moments").append(button);
    find(".moments").hidden = false;
  }
  article.setAttribute("aria-label", `${hit.rank}. ${(hit.caption || hit.id).slice(0, 200)}, ${span(hit)}`);
  article.addEventListener("click", () => view(hit));
  for (const name of ["mouseenter", "mouseleave", "focusin", "focusout"]) article.addEventListener(name, () => setTimeout(settle));
  clips.set(article, shown);
  watch.observe(article);
  return item;
}

function clear() {
  clips.forEach((one) => one.pause());
  clips.clear();
  seen.clear();
  watch.disconnect();
  by("hits").replaceChildren();
  scrollTo({ top: 0 });
}

// Those that are shown already stay as they are, playing.
function show(hits) {
  const best = Math.max(1e-6, ...hits.map((hit) => hit.score));
  by("hits").append(...hits.slice(clips.size).map((hit) => card(hit, best)));
}

// ---- the large view: the whole video, with its sound, from the right second
let viewed = null;
function view(hit) {
  const copy = { ...hit };
  const stage = by("viewer").querySelector(".stage");
  viewed?.pause();
  viewed = clip(copy, { controls: true, whole: true });
  const words = by("viewer").querySelector("p");
  const text = [span(hit), hit.caption || hit.id].filter(Boolean).join("  ");
  words.textContent = text;
  viewed.onfallback = () => { viewed.image.hidden = false; words.textContent = `${text} (your browser cannot play this file; these are pictures of it)`; };
  stage.replaceChildren(viewed.image);
  viewed.image.hidden = hit.plays;
  if (!hit.plays) words.textContent = `${text} (no browser plays this file; these are pictures of it)`;
  by("viewer").querySelector(".more").onclick = () => { by("viewer").close(); go({ like: hit.row }); };
  by("viewer").showModal();
  settle();
  viewed.play();
  (viewed.video ?? by("viewer").querySelector(".close")).focus(); // its keys: space stops, arrows seek
}
by("viewer").querySelector(".close").addEventListener("click", () => by("viewer").close());
by("viewer").addEventListener("click", (event) => { if (event.target === by("viewer")) by("viewer").close(); });
by("viewer").addEventListener("close", () => { viewed?.pause(); by("viewer").querySelector(".stage").replaceChildren(); settle(); });

// ---- where we are
function go(where) {
  const hash = where.like !== undefined ? `#like=${where.like}` : where.q ? `#q=${encodeURIComponent(where.q)}` : "#";
  if (location.hash === hash) return load();
  location.hash = hash;
}

async function load(count = PAGE) {
  const mine = ++turn;
  const given = new URLSearchParams(location.hash.slice(1));
  const q = given.get("q"), like = given.get("like");
  const status = by("status");
  status.className = "";
  by("welcome").hidden = Boolean(q || like);
  if (count === PAGE) by("further").hidden = true;
  if (!q && !like) {
    clear();
    status.textContent = "";
    by("like").hidden = true;
    return;
  }
  if (q && by("query").value !== q) by("query").value = q;
  if (like) by("query").value = "";
  by("hits").classList.add("busy");
  const begin = performance.now();
  try {
    const found = like ? await ask(`api/like/${Number(like)}?k=${count}`) : await ask(`api/search?k=${count}&q=${encodeURIComponent(q)}`);
    if (mine !== turn) return;
    const hits = like ? found.hits : found;
    by("like").hidden = !like;
    if (like) {
      const image = Object.assign(new Image(), { alt: "", src: picture(found.like.row, 0) });
      const words = document.createElement("p");
      const small = Object.assign(document.createElement("small"), { textContent: "More like" });
      words.dir = "auto";
      words.append(small, document.createElement("br"), found.like.caption.split(" | ")[0] || found.like.id);
      by("like").replaceChildren(image, words);
    }
    if (count === PAGE) clear();
    const before = clips.size;
    show(hits);
    if (before) [...clips.keys()][before]?.focus({ preventScroll: true });
    by("further").hidden = hits.length < count || count >= MOST;
    by("further").onclick = () => load(count + PAGE);
    const took = `${Math.round(performance.now() - begin)} ms`;
    status.textContent = hits.length ? `${hits.length} ${hits.length === 1 ? "video" : "videos"}, the best first, ${took}` : "There is no other video here";
  } catch (error) {
    if (mine !== turn) return;
    clear();
    by("further").hidden = true;
    status.className = "bad";
    status.textContent = error instanceof TypeError ? "The server does not answer: is vtr search --serve still running?" : error.message;
  } finally {
    if (mine === turn) by("hits").classList.remove("busy");
  }
}

// ---- typing searches by itself after a pause; Enter does at once
let pause = 0;
by("query").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(() => {
    const q = by("query").value.trim();
    history.replaceState(null, "", q ? `#q=${encodeURIComponent(q)}` : "#");
    load();
  }, 300);
});
by("form").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(pause);
  go({ q: by("query").value.trim() });
  if (matchMedia("(pointer: coarse)").matches) by("query").blur(); // the keyboard would hide what was found
});

// ---- the keyboard
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || by("viewer").open) return;
  const cards = [...clips.keys()];
  const at = cards.indexOf(document.activeElement?.closest?.("article"));
  const typing = document.activeElement === by("query");
  const focus = (place) => { event.preventDefault(); cards[Math.max(0, Math.min(cards.length - 1, place))]?.focus(); };
  const across = cards.filter((one) => one.offsetTop === cards[0]?.offsetTop).length || 1;
  if (event.key === "/" && !(typing && by("query").value)) { event.preventDefault(); by("query").focus(); by("query").select(); }
  else if (event.key === "Escape" && at >= 0) by("query").focus();
  else if (event.key === "ArrowDown" && typing && cards.length) focus(0);
  else if (at < 0 || typing) return;
  else if (event.key === "ArrowRight") focus(at + 1);
  else if (event.key === "ArrowLeft") focus(at - 1);
  else if (event.key === "ArrowDown") focus(at + across);
  else if (event.key === "ArrowUp") at < across ? (event.preventDefault(), by("query").focus()) : focus(at - across);
  else if (document.activeElement.tagName === "BUTTON") return;
  else if (event.key === "Enter" || event.key === " ") { event.preventDefault(); view(clips.get(cards[at]).hit); }
  else if (event.key.toLowerCase() === "m") go({ like: clips.get(cards[at]).hit.row });
});

addEventListener("hashchange", () => load());
ask("api/about").then((about) => {
  frames = about.frames;
  document.title = `${about.title} · vtr search`;
  const moments = about.rows > about.videos ? `, ${about.rows.toLocaleString()} moments` : "";
  by("about").textContent = `${about.videos.toLocaleString()} videos${moments}, on this machine`;
  for (const text of about.examples) {
    const button = Object.assign(document.createElement("button"), { type: "button", dir: "auto", textContent: text });
    button.addEventListener("click", () => go({ q: text }));
    by("examples").append(button);
  }
}).catch(() => {});
load();
