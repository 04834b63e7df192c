// The editor of the hole: opens a photo, and takes strokes on it.
//
// Runs with `element`, which holds hole_editor.html, and `props`: max_bytes of a file and
// too_large, what is said of larger ones. A photo is sent to the server by
// POST photos and kept there in memory; what comes back is a reduced copy to paint on.
// value() of .hole-editor gives {"photo": token, "strokes": [...]} as JSON, in pixels
// of the photo; web_page/strokes.py makes the mask of it.

const root = element.querySelector(".hole-editor");
const find = (selector) => root.querySelector(selector);
const canvas = find("canvas");
const context = canvas.getContext("2d");
const told = find(".told");
const picture = new Image();
const paint = document.createElement("canvas");
const COLOR = "#ff2d95";

let photo = null; // {photo, width, height, shown, notes} from the server.
let strokes = [];
let earlier = []; // What `strokes` was before each change, for undo.
let asked = 0; // Photos so far: only the answer to the last request counts.
let current = null; // The stroke being drawn, and whose pointer draws it.
let tool = "brush";

function tell(text, isError) {
  told.textContent = text;
  told.classList.toggle("bad", Boolean(isError));
}

// ---------------------------------------------------------------- photos

async function open(query, body, name) {
  tell("Opening ...");
  const number = ++asked;
  let answer;
  try {
    const response = await fetch("photos?" + new URLSearchParams(query), {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body,
    });
    answer = await response.json();
  } catch {
    answer = { error: "The photo could not be sent. Is the server still running?" };
  }
  if (number !== asked) return;
  if (answer.error) return tell(answer.error, true);
  answer.name = name;
  picture.onload = () => {
    // The server forgets photos: opened again, one keeps what was painted on it.
    const again = photo && ["name", "width", "height"].every((k) => photo[k] === answer[k]);
    photo = answer;
    if (!again) strokes = earlier = [];
    current = null;
    find(".stage").hidden = false;
    find(".empty").hidden = true;
    const size = `${name}: ${photo.width} x ${photo.height} pixels`;
    tell([size, ...photo.notes, ...(strokes.length ? ["marks kept"] : [])].join("; "));
    const { left, top, width, height } = find("form").elements;
    [left.max, top.max] = [photo.width - 1, photo.height - 1];
    [width.max, height.max] = [photo.width, photo.height];
    canvas.setAttribute("aria-label", `The photo ${size}. ${find(".hint").textContent}`);
    fit();
  };
  picture.onerror = () => tell("The photo cannot be shown.", true);
  picture.src = answer.shown;
}

function openFile(file) {
  if (!file) return;
  if (file.size > props.max_bytes) {
    asked++;
    return tell(props.too_large, true);
  }
  open({ name: file.name }, file, file.name);
}

find(".file").addEventListener("change", (event) => {
  openFile(event.target.files[0]);
  event.target.value = ""; // The same file may be opened again.
});

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  root.addEventListener(kind, (event) => {
    event.preventDefault();
    root.classList.toggle("dragged", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") openFile(event.dataTransfer.files[0]);
  });
}

for (const button of root.querySelectorAll("[data-sample]")) {
  button.addEventListener("click", () =>
    open({ sample: button.dataset.sample }, null, button.textContent));
}

// ---------------------------------------------------------------- drawing

// Canvas pixels follow the screen's, so that a tiny photo has a smooth brush too.
function fit() {
  if (!photo) return;
  const room = canvas.parentElement.clientWidth;
  const high = Math.max(240, 0.62 * window.innerHeight);
  const scale = Math.min(room / photo.width, high / photo.height);
  const width = Math.max(1, Math.round(scale * photo.width));
  const height = Math.max(1, Math.round(scale * photo.height));
  const dense = Math.min(window.devicePixelRatio || 1, 2);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.width = paint.width = Math.round(width * dense);
  canvas.height = paint.height = Math.round(height * dense);
  draw();
}

function draw() {
  const brush = paint.getContext("2d");
  brush.setTransform(1, 0, 0, 1, 0, 0);
  brush.clearRect(0, 0, paint.width, paint.height);
  brush.scale(paint.width / photo.width, paint.height / photo.height);
  brush.lineCap = brush.lineJoin = "round";
  brush.strokeStyle = brush.fillStyle = COLOR;
  for (const stroke of current ? [...strokes, current.stroke] : strokes) {
    brush.globalCompositeOperation =
      stroke.tool === "eraser" ? "destination-out" : "source-over";
    const [first, last] = [stroke.points[0], stroke.points[stroke.points.length - 1]];
    if (stroke.tool === "box") {
      brush.fillRect(first[0], first[1], last[0] - first[0], last[1] - first[1]);
    } else {
      brush.lineWidth = stroke.width;
      brush.beginPath();
      brush.moveTo(...first);
      for (const point of stroke.points) brush.lineTo(...point);
      brush.stroke();
    }
  }
  context.imageSmoothingEnabled = canvas.width < 2 * picture.width;
  context.globalAlpha = 1;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 0.6;
  context.drawImage(paint, 0, 0);
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  const x = ((event.clientX - box.left) / box.width) * photo.width;
  const y = ((event.clientY - box.top) / box.height) * photo.height;
  const fine = (value) => Math.round(value * 100) / 100;
  return [fine(inside(x, photo.width)), fine(inside(y, photo.height))];
}

canvas.addEventListener("pointerdown", (event) => {
  if (!photo || current || event.button > 0) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  const share = Number(find(".width").value) / 100;
  const width = Math.max(1, share * Math.min(photo.width, photo.height));
  const stroke = { tool, width: Math.round(width * 100) / 100, points: [place(event)] };
  current = { stroke, pointer: event.pointerId };
  draw();
});

canvas.addEventListener("pointermove", (event) => {
  if (!current || event.pointerId !== current.pointer) return;
  const { stroke } = current;
  if (stroke.tool === "box") stroke.points = [stroke.points[0], place(event)];
  else stroke.points.push(place(event));
  draw();
});

canvas.addEventListener("pointerup", (event) => {
  if (!current || event.pointerId !== current.pointer) return;
  const { stroke } = current;
  current = null;
  const [first, last] = [stroke.points[0], stroke.points[stroke.points.length - 1]];
  const empty = first[0] === last[0] || first[1] === last[1];
  if (stroke.tool === "box" && empty) draw();
  else change([...strokes, stroke]);
});

// The browser has taken the finger for something else, such as scrolling.
canvas.addEventListener("pointercancel", (event) => {
  if (!current || event.pointerId !== current.pointer) return;
  current = null;
  draw();
});

// ---------------------------------------------------------------- tools

for (const button of root.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => {
    tool = button.dataset.tool;
    for (const other of root.querySelectorAll("[data-tool]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
  });
}

function change(next) {
  earlier = [...earlier, strokes];
  strokes = next;
  if (photo) draw();
}

find(".undo").addEventListener("click", () => {
  if (!earlier.length) return;
  strokes = earlier[earlier.length - 1];
  earlier = earlier.slice(0, -1);
  draw();
});
find(".clear").addEventListener("click", () => {
  if (strokes.length) change([]);
});

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = (name) => Number(event.target.elements[name].value);
  const [left, top] = [value("left"), value("top")];
  const corner = [left + value("width"), top + value("height")];
  change([...strokes, { tool: "box", width: 1, points: [[left, top], corner] }]);
});

new ResizeObserver(fit).observe(root);
root.value = () => JSON.stringify({ photo: photo && photo.photo, strokes });
