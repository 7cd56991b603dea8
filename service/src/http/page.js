"use strict";

// Milliseconds: between looks at the figures, between pictures, after the last move of a slider, and for which what the
// service says does not move a slider that was moved here.
const LOOK = 1000, PICTURE = 1000, SETTLE = 120, HOLD = 1500;
const MOST_RATIO = 20;
const TOKEN = "uretinex-token";

const $ = (id) => document.getElementById(id);
const tiles = new Map();

let token = sessionStorage.getItem(TOKEN) || "";

async function call(path, method = "GET", body) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    const error = new Error(said.error || `the service answers ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return response;
}

// Has the token asked for, once for all who want it. True if one was given.
let asking = null;
function ask(why) {
  asking ??= new Promise((done) => {
    const dialog = $("token-dialog");
    $("token-why").textContent = why;
    $("token").value = "";
    dialog.returnValue = "cancel";
    dialog.addEventListener("close", () => {
      asking = null;
      if (dialog.returnValue === "ok" && $("token").value) {
        setToken($("token").value.trim());
        done(true);
      } else {
        done(false);
      }
      $("token").value = "";
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

function setToken(text) {
  token = text;
  if (text) sessionStorage.setItem(TOKEN, text); else sessionStorage.removeItem(TOKEN);
  $("unlock").textContent = text ? "Lock" : "Unlock";
}

// Calls what needs the token, and asks for one where it is missing or wrong.
async function callWithToken(path, method, body) {
  for (;;) {
    try {
      return await call(path, method, body);
    } catch (error) {
      if (error.status !== 401) throw error;
      const why = token ? "This token is wrong." : "Settings need the service's token. It is kept until this tab is closed.";
      if (!(await ask(why))) throw error;
    }
  }
}

const toRatio = (position) => MOST_RATIO ** (position / 100);
const toPosition = (ratio) => Math.round(100 * Math.log(Math.max(1, ratio)) / Math.log(MOST_RATIO));

class Tile {
  constructor(name) {
    this.name = name;
    this.path = `/api/cameras/${name}`;
    this.root = $("tile").content.firstElementChild.cloneNode(true);
    this.root.dataset.camera = name;
    this.part = (selector) => this.root.querySelector(selector);
    this.form = this.part("form");
    this.part("h2").textContent = name;
    this.part(".before").alt = `${name} before`;
    this.part(".after").alt = `${name} after`;
    this.part(".picture").classList.add("empty");
    this.part(".split").addEventListener("input", (event) => {
      this.part(".picture").style.setProperty("--split", `${event.target.value}%`);
    });
    const fields = this.form.elements;
    // A number that is being typed is none yet.
    const typed = (event) => event.target === fields.deadline || event.target === fields.milliseconds;
    this.form.addEventListener("input", (event) => { if (!typed(event)) this.moved(); });
    this.form.addEventListener("change", (event) => { if (typed(event)) this.timed(); });
    fields.milliseconds.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      // Not the form's button.
      event.preventDefault();
      this.timed();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    this.form.elements.call.addEventListener("click", () => this.do("is being called", "call"));
    this.seen = true;
    new IntersectionObserver((entries) => { this.seen = entries[0].isIntersecting; }).observe(this.root);
    this.watch();
  }

  // Settings as the form has them.
  wanted() {
    const fields = this.form.elements;
    const ratio = fields.auto.checked ? "auto" : Math.round(toRatio(Number(fields.ratio.value)) * 10) / 10;
    return {
      ratio,
      brightness: Number(fields.brightness.value),
      strength: Number(fields.strength.value),
      temporal: Number(fields.temporal.value),
      enabled: fields.enabled.checked,
      daylight: fields.daylight.checked ? "enhance" : "bypass",
    };
  }

  // The deadline was changed. It goes alone: what is wrong with it is no reason to refuse the rest.
  async timed() {
    const fields = this.form.elements;
    const choice = fields.deadline.value;
    fields.milliseconds.hidden = choice !== "ms";
    this.hold = Date.now() + HOLD;
    // What is no number is null, which the service refuses with the range.
    const deadline = choice === "ms" ? fields.milliseconds.valueAsNumber : choice;
    try {
      const camera = await (await callWithToken(this.path, "PATCH", { deadline })).json();
      this.say("");
      this.show(camera);
    } catch (error) {
      this.hold = 0;
      this.say(error.message);
    }
  }

  moved() {
    this.hold = Date.now() + HOLD;
    this.label(this.wanted());
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.send(), SETTLE);
  }

  async send() {
    // One at a time; the last one counts.
    if (this.sending) {
      this.again = true;
      return;
    }
    this.sending = true;
    do {
      this.again = false;
      try {
        const camera = await (await callWithToken(this.path, "PATCH", this.wanted())).json();
        this.say("");
        this.show(camera);
      } catch (error) {
        // What was moved meanwhile is still sent.
        if (!this.again) this.hold = 0;
        this.say(error.message);
      }
    } while (this.again);
    this.sending = false;
  }

  save() {
    return this.do("saved", "save");
  }

  async do(done, what) {
    try {
      await callWithToken(`${this.path}/${what}`, "POST");
      this.say(done);
      look();
    } catch (error) {
      this.say(error.message);
    }
  }

  say(text) {
    this.part(".said").textContent = text;
    clearTimeout(this.saying);
    if (text) this.saying = setTimeout(() => this.say(""), 8000);
  }

  label(settings, inUse) {
    const fields = this.form.elements;
    const automatic = settings.ratio === "auto";
    const outputs = this.form.querySelectorAll(".row output");
    outputs[0].textContent = automatic ? (inUse ? inUse.toFixed(1) : "auto") : settings.ratio.toFixed(1);
    outputs[1].textContent = settings.brightness.toFixed(2);
    outputs[2].textContent = settings.strength.toFixed(2);
    outputs[3].textContent = settings.temporal.toFixed(2);
    fields.ratio.disabled = automatic;
    fields.brightness.disabled = !automatic;
    fields.daylight.disabled = !automatic;
  }

  show(camera) {
    const { figures, settings, served, state } = camera;
    const age = camera.frame_age ?? Infinity;
    const stateText = this.part(".state");
    stateText.dataset.state = state;
    stateText.textContent = state;
    const night = { night: "night", day: "day" }[figures.light];
    this.part(".light").textContent = state === "live" && night ? (figures.grey ? `${night}, infrared` : night) : "";
    const message = this.part(".message");
    message.hidden = state === "live" || !camera.message;
    const next = camera.next_call_in ? ` Calling it again in ${Math.ceil(camera.next_call_in)} s.` : "";
    message.textContent = message.hidden ? "" : `${camera.message}.${next}`.replace("..", ".");
    this.form.elements.call.hidden = !camera.next_call_in;
    const veil = this.part(".veil");
    veil.hidden = state === "live" && age < 5;
    veil.textContent = age === Infinity ? "no picture yet" : `last picture ${Math.round(age)} s ago`;

    const now = performance.now();
    if (this.before && now > this.before.now) {
      const rate = (figures.frames_out - this.before.frames) * 1000 / (now - this.before.now);
      // Ten looks are averaged.
      this.rate = this.rate === undefined ? rate : this.rate + (rate - this.rate) / 10;
    }
    this.before = { now, frames: figures.frames_out };
    const dropped = figures.dropped_queue + figures.dropped_late;
    const ms = (seconds) => (seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0);
    const rows = [
      ["frames/s", state === "live" ? (this.rate ?? 0).toFixed(1) : "0"],
      ["a frame takes", figures.seconds_p50 ? `${ms(figures.seconds_p50)}–${ms(figures.seconds_p95)} ms` : "–"],
      ["luma", figures.enhanced ? `${figures.luma_in.toFixed(2)} → ${figures.luma_out.toFixed(2)}` : "–"],
      ["size", served ? `${served.width}×${served.height}` : "–"],
      ["coded as", camera.video ? [camera.video, camera.audio].filter(Boolean).join(", ") : "–"],
      ["viewers", camera.viewers],
      ["dropped", dropped, dropped > figures.frames_in / 20],
      ["called again", camera.reconnects],
      ["rung", figures.rung < 3 ? figures.rung : "3, untouched", figures.rung > 1],
    ];
    const list = this.part(".figures");
    if (list.children.length !== rows.length) {
      list.replaceChildren(...rows.map(([name]) => {
        const row = document.createElement("div");
        const term = document.createElement("dt");
        term.textContent = name;
        row.append(term, document.createElement("dd"));
        return row;
      }));
    }
    rows.forEach(([, value, alarm], index) => {
      const place = list.children[index].lastChild;
      place.textContent = value;
      place.classList.toggle("alarm", Boolean(alarm));
    });
    this.part(".address").textContent = `rtsp://${location.hostname}:${camera.port}${camera.path}`;

    this.form.elements.save.disabled = camera.saved;
    if (Date.now() < (this.hold || 0)) return;
    const fields = this.form.elements;
    fields.auto.checked = settings.ratio === "auto";
    fields.ratio.value = toPosition(settings.ratio === "auto" ? figures.ratio : settings.ratio);
    for (const name of ["brightness", "strength", "temporal"]) fields[name].value = settings[name];
    fields.enabled.checked = settings.enabled;
    fields.daylight.checked = settings.daylight === "enhance";
    if (document.activeElement !== fields.milliseconds) {
      const milliseconds = typeof settings.deadline === "number";
      fields.deadline.value = milliseconds ? "ms" : settings.deadline;
      fields.milliseconds.hidden = !milliseconds;
      if (milliseconds) fields.milliseconds.value = settings.deadline;
    }
    this.label(settings, figures.ratio);
  }

  // Pictures, one after the other, while somebody looks.
  async watch() {
    while (!this.gone) {
      const began = performance.now();
      if (this.seen && !document.hidden) {
        const width = Math.min(1280, Math.ceil(this.root.clientWidth * Math.min(2, devicePixelRatio)) || 480);
        try {
          const [before, after] = await Promise.all(["before", "after"].map(async (side) =>
            (await call(`${this.path}/${side}.jpg?width=${width}`)).blob()));
          this.paint(".before", before);
          this.paint(".after", after);
          this.part(".picture").classList.remove("empty");
        } catch { /* The state says why there is none. */ }
      }
      await new Promise((done) => setTimeout(done, Math.max(200, PICTURE - (performance.now() - began))));
    }
  }

  paint(selector, blob) {
    const picture = this.part(selector);
    const old = picture.src;
    picture.src = URL.createObjectURL(blob);
    if (old.startsWith("blob:")) picture.decode().catch(() => {}).finally(() => URL.revokeObjectURL(old));
  }
}

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text;
}

async function look() {
  try {
    const cameras = await (await call("/api/cameras")).json();
    trouble("");
    const names = new Set(cameras.map((camera) => camera.name));
    for (const [name, tile] of tiles) {
      if (!names.has(name)) {
        tile.gone = true;
        tile.root.remove();
        tiles.delete(name);
      }
    }
    for (const camera of cameras) {
      if (!tiles.has(camera.name)) {
        tiles.set(camera.name, new Tile(camera.name));
        $("cameras").append(tiles.get(camera.name).root);
      }
      tiles.get(camera.name).show(camera);
    }
    const live = cameras.filter((camera) => camera.state === "live").length;
    $("summary").textContent = `${live} of ${cameras.length} live`;
  } catch (error) {
    trouble(error.status === 401 ? "Unlock to see the cameras." : error.status ? error.message : "The service does not answer.");
    $("summary").textContent = "";
    // Where even looking needs the token. It is asked for once, and again by the button.
    if (error.status === 401 && !look.asked) {
      look.asked = true;
      if (await ask("The service shows its cameras to those who have its token. It is kept until this tab is closed.")) look.asked = false;
    }
  }
}

$("unlock").addEventListener("click", () => {
  if (token) setToken(""); else ask("Settings need the service's token. It is kept until this tab is closed.");
});
setToken(token);

(async () => {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((done) => setTimeout(done, LOOK));
  }
})();
