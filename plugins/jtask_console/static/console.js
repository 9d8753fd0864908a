// What the page does by itself: times, keys, questions before actions, and the live light.
(() => {
  "use strict";
  const root = document.body.dataset.root;

  // --- instants, in the reader's own zone -------------------------------------------------------

  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function distance(seconds) {
    const size = Math.abs(seconds);
    if (size < 1) return "now";
    const [length, unit] = UNITS.find(([length]) => size >= length);
    const text = `${Math.floor(size / length)} ${unit}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  }

  const dated = (at, time) => (at.toDateString() === new Date().toDateString() ? time : `${day.format(at)}, ${time}`);

  function written(element) {
    const at = new Date(element.dateTime);
    const how = element.dataset.as;
    if (how === "for") return distance((Date.now() - at) / 1000).replace(" ago", "").replace("now", "0 s");
    if (how === "clock") return `${clock.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
    if (how === "minute") return dated(at, minute.format(at));
    if (how === "date") return dated(at, clock.format(at));
    return distance((Date.now() - at) / 1000);
  }

  function write(element) {
    const text = written(element);
    if (element.textContent !== text) element.textContent = text;
  }

  const writeAll = (within) => within.querySelectorAll("time").forEach(write);
  setInterval(() => document.hidden || writeAll(document), 1000);
  document.addEventListener("mouseover", (event) => {
    const element = event.target.closest("time");
    if (element) element.title = exact.format(new Date(element.dateTime));
  });

  // --- the live stream, and the light that says whether there is one -----------------------------

  const stream = document.querySelector("[hx-sse\\:connect]");
  const light = document.getElementById("live");
  const lightText = light.querySelector("[data-live-text]");
  const SILENCE = 45000; // ms: the server gives a sign of life every 15 s
  const RETRY = 1000; // ms
  let connection = null;
  let heard = 0;
  let retry = 0;

  function say(state, text, why = "") {
    light.dataset.state = state;
    light.title = why;
    if (lightText.textContent !== text) lightText.textContent = text;
  }

  // In a tab that nobody sees, when somebody does.
  function connect() {
    if (document.hidden) document.addEventListener("visibilitychange", connect, { once: true });
    else htmx.trigger(stream, "connect");
  }

  function lost(status) {
    if (status === 401) say("out", "logged out", "Reload the page to log in again.");
    else if (status === 403 || status === 421) say("out", "refused", "Reload the page to see why.");
    else say("off", "reconnecting", "What is shown may be out of date.");
  }

  document.addEventListener("htmx:sse:after:connection", (event) => {
    connection = event.detail.connection;
    heard = Date.now();
  });
  // Only the console's own server says so, whatever else answers in its place.
  stream?.addEventListener("live", () => say("on", "live"));
  stream?.addEventListener("stuck", (event) => say("off", "out of date", event.detail.data));
  document.addEventListener("htmx:sse:after:message", () => { heard = Date.now(); });
  document.addEventListener("htmx:sse:error", (event) => lost(event.detail.status));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && connection) say("off", "paused");
  });
  // The extension comes back when a connection was lost. One that never was is tried again here, and
  // one that the extension has given up.
  function connectAgain(status) {
    lost(status);
    clearTimeout(retry);
    retry = setTimeout(connect, RETRY * (1 + Math.random()));
  }
  document.addEventListener("htmx:finally:request", (event) => {
    if (!connection) connectAgain(event.detail.ctx.response?.status);
  });
  document.addEventListener("htmx:sse:close", () => {
    connection = null;
    connectAgain();
  });
  // A connection can be dead without anybody being told.
  setInterval(() => {
    if (!connection?.reader || document.hidden || Date.now() - heard < SILENCE) return;
    lost();
    heard = Date.now();
    connection.reader.cancel();
  }, 1000);
  if (stream) document.addEventListener("htmx:after:process", connect, { once: true });
  else light.hidden = true;

  // What is new has the server's text; this runs before the next frame is drawn. What was there keeps
  // what is written here (`morphSkipChildren`), but its instant may be another one.
  new MutationObserver(() => {
    writeAll(document);
    keepSelection();
    pinLog();
  }).observe(document.getElementById("main"), { childList: true, subtree: true, attributeFilter: ["datetime"] });

  // --- a log that is read at its end stays there ------------------------------------------------

  let logIsAtEnd = true;
  const log = () => document.querySelector("[data-log]");
  document.addEventListener("scroll", (event) => {
    const box = log();
    if (event.target === box) logIsAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 24;
  }, true);
  function pinLog() {
    const box = log();
    if (box && logIsAtEnd) box.scrollTop = box.scrollHeight;
  }

  // --- questions before actions -----------------------------------------------------------------

  const ask = document.getElementById("ask");
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const question = event.submitter?.dataset.ask ?? form.dataset.ask;
    if (!question || form.dataset.agreed) return;
    event.preventDefault();
    document.getElementById("ask-text").textContent = question.replace("{count}", counted());
    ask.querySelector("[data-yes]").textContent = event.submitter.textContent.trim();
    ask.returnValue = "no";
    ask.addEventListener("close", () => {
      if (ask.returnValue !== "yes") return;
      form.dataset.agreed = "yes";
      form.requestSubmit(event.submitter);
      delete form.dataset.agreed;
    }, { once: true });
    ask.showModal();
  });

  // A field without a value would only make the address longer.
  document.addEventListener("formdata", (event) => {
    if (event.target.method !== "get") return;
    for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
    if (event.target.matches("[data-all]")) selectAll(event.target.checked);
    if (event.target.matches("[name=run]")) remember(event.target);
    if (event.target.matches("[data-matching]")) {
      isAll = event.target.checked;
      showSelection();
    }
  });

  // --- the rows that are selected ---------------------------------------------------------------

  const selected = new Set();
  const boxes = () => [...document.querySelectorAll("input[name=run]")];

  function remember(box) {
    selected[box.checked ? "add" : "delete"](box.value);
    showSelection();
  }

  function selectAll(checked) {
    boxes().forEach((box) => { box.checked = checked; remember(box); });
  }

  function keepSelection() {
    if (all()) all().checked = isAll;
    if (!selected.size && !isAll) return;
    boxes().forEach((box) => { box.checked = selected.has(box.value); });
    showSelection();
  }

  const all = () => document.querySelector("[data-matching]");
  let isAll = false;

  function meant() {
    if (isAll) return document.querySelector("[data-meant]").textContent;
    return String(boxes().filter((box) => box.checked).length);
  }

  function counted() {
    return meant() === "1" ? "1 run" : `${meant()} runs`;
  }

  function showSelection() {
    const bar = document.getElementById("selection");
    if (!bar) return;
    bar.hidden = meant() === "0";
    const count = bar.querySelector("[data-count]");
    // Only what differs: this is called for each change of the page, and must end.
    if (count.textContent !== meant()) count.textContent = meant();
  }

  // --- keys -------------------------------------------------------------------------------------

  const PLACES = { o: "/", r: "/runs", f: "/failures", q: "/queues", w: "/workers", s: "/schedules", l: "/limits", d: "/dead-letters" };
  let isGoing = false;

  function row(step) {
    const rows = [...document.querySelectorAll("[data-row]")];
    if (!rows.length) return;
    const now = rows.indexOf(document.activeElement.closest("[data-row]"));
    const next = rows[Math.min(rows.length - 1, Math.max(0, now + step))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }

  function toggle() {
    document.activeElement.closest("[data-row]")?.querySelector("input[name=run]")?.click();
  }

  const KEYS = {
    j: () => row(1),
    k: () => row(-1),
    x: toggle,
    "/": () => document.querySelector("[data-filter]")?.focus(),
    "?": () => document.getElementById("keys").showModal(),
    g: () => { isGoing = true; setTimeout(() => { isGoing = false; }, 1500); },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest("input:not([type=checkbox]), textarea, select");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    if (isGoing && PLACES[event.key]) {
      location.href = root + PLACES[event.key];
      return;
    }
    if (event.key === "Enter" && event.target.matches("[data-row]")) {
      event.target.querySelector("a")?.click();
      return;
    }
    if (KEYS[event.key]) {
      event.preventDefault();
      KEYS[event.key]();
    }
  });

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) document.getElementById(opener.dataset.open).showModal();
  });

  writeAll(document);
  pinLog();
  // In a narrow window the navigation is longer than its place.
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
})();
