// The recognizer's C API (motionrt.h) as WebAssembly; motionrt.d.ts describes what is exported.

const MAX_PEOPLE = 16;
const POSE_BYTES = 24, DECISION_BYTES = 40; // motionrt_pose and motionrt_decision with 32-bit pointers
const STATUSES = ["ok", "dropped", "missing", "lost"], EVENTS = [null, "onset", "offset"];

async function readFile(path) {
  const url = new URL(path, import.meta.url);
  if (globalThis.process?.versions?.node) return (await import("node:fs/promises")).readFile(url);
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

// weights.bf16 is weights.safetensors with the upper half of each float only; the lower ones are zeros.
function widen(halves) {
  const at = 8 + new DataView(halves.buffer, halves.byteOffset).getUint32(0, true); // after the header
  const file = new Uint8Array(2 * halves.length - at);
  file.set(halves.subarray(0, at));
  for (let from = at, to = at + 2; from < halves.length; from += 2, to += 4) {
    file[to] = halves[from];
    file[to + 1] = halves[from + 1];
  }
  return file;
}

export async function load({ model, flat, precision = "fp32", read = readFile } = {}) {
  const code = read("motionrt.wasm");
  if (!model) {
    const [manifest, weights, flatManifest, flatWeights] = await Promise.all([
      read("models/live/manifest.json"), read("models/live/weights.safetensors"),
      read("models/live-2d/manifest.json"), read("models/live-2d/weights.bf16"),
    ]);
    model = { manifest, weights };
    flat = { manifest: flatManifest, weights: widen(flatWeights) };
  }
  const { instance } = await WebAssembly.instantiate(await code, {
    env: { emscripten_notify_memory_growth() {} },
    wasi_snapshot_preview1: { environ_get: () => 0, environ_sizes_get: noVariables, proc_exit() {} },
  });
  function noVariables(count, bytes) {
    const memory = new DataView(instance.exports.memory.buffer);
    memory.setUint32(count, 0, true);
    memory.setUint32(bytes, 0, true);
    return 0;
  }
  instance.exports._initialize();
  return new Recognizer(instance.exports, model, flat, precision);
}

export function fromMediaPipe(landmarks) {
  const joints = new Float32Array(3 * landmarks.length), confidence = new Float32Array(landmarks.length);
  landmarks.forEach(({ x, y, z, visibility = 1 }, i) => {
    joints.set([x, -y, -z], 3 * i); // its y points down
    confidence[i] = visibility;
  });
  return { joints, confidence };
}

class Recognizer {
  #core;
  #handle;
  #layouts = new Map(); // {number, joints, dims} by name
  #view = new DataView(new ArrayBuffer(0));
  #poses; // memory of the poses and decisions of a call
  #decisions;
  #numbers = 0; // memory of joints and confidences
  #room = 0;    // floats in it

  constructor(core, model, flat, precision) {
    if (precision !== "fp32" && precision !== "bf16") throw new Error(`precision is ${precision}, expected fp32 or bf16`);
    this.#core = core;
    this.#poses = this.#allocate(MAX_PEOPLE * POSE_BYTES);
    this.#decisions = this.#allocate(MAX_PEOPLE * DECISION_BYTES);
    const files = [model, ...(flat ? [flat] : [])].flatMap(({ manifest, weights }) => [manifest, weights]);
    const copies = files.map(file => this.#copy(file));
    const bundles = this.#allocate(8 * files.length);
    files.forEach((file, i) => {
      this.#memory.setUint32(bundles + 8 * i, copies[i], true);
      this.#memory.setUint32(bundles + 8 * i + 4, file.length, true);
    });
    const result = this.#decisions;
    const status = core.motionrt_load_memory(bundles, flat ? bundles + 16 : 0, precision === "bf16" ? 1 : 0, result);
    for (const copy of [bundles, ...copies]) core.free(copy);
    this.#check(status);
    this.#handle = this.#memory.getInt32(result, true);
    this.license = this.#text(core.motionrt_license(this.#handle));
    this.#readLabels();
  }

  step(joints, t, { layout, person, confidence } = {}) {
    return this.stepPeople([{ person, joints, confidence }], t, { layout })[0];
  }

  stepPeople(poses, t, { layout } = {}) {
    const { number, joints, dims } = this.#layout(layout);
    if (poses.length > MAX_PEOPLE) throw new Error(`${poses.length} poses, expected at most ${MAX_PEOPLE}`);
    const floats = joints * (dims + 1);
    if (this.#room < MAX_PEOPLE * floats) {
      this.#core.free(this.#numbers);
      this.#room = MAX_PEOPLE * floats;
      this.#numbers = this.#allocate(4 * this.#room);
    }
    const memory = this.#memory, numbers = new Float32Array(memory.buffer, this.#numbers, this.#room);
    poses.forEach((pose, i) => {
      const { person = 0, confidence } = pose, at = this.#poses + i * POSE_BYTES, first = i * floats;
      if (!Number.isSafeInteger(person)) throw new Error(`person is ${person}, expected a whole number`);
      if (pose.joints.length !== joints * dims)
        throw new Error(`joints of person ${person}: ${pose.joints.length} numbers, expected ${joints} x ${dims}`);
      if (confidence && confidence.length !== joints)
        throw new Error(`confidence of person ${person}: ${confidence.length} numbers, expected ${joints}`);
      numbers.set(pose.joints, first);
      if (confidence) numbers.set(confidence, first + joints * dims);
      memory.setBigInt64(at, BigInt(person), true);
      memory.setUint32(at + 8, this.#numbers + 4 * first, true);
      memory.setUint32(at + 12, confidence ? this.#numbers + 4 * (first + joints * dims) : 0, true);
      memory.setInt32(at + 16, joints, true);
    });
    this.#check(this.#core.motionrt_step(this.#handle, t, this.#poses, poses.length, number, this.#decisions));
    return this.#read(poses.length);
  }

  evict(t) {
    this.#check(this.#core.motionrt_evict(this.#handle, t, this.#decisions, this.#poses));
    return this.#read(this.#memory.getInt32(this.#poses, true));
  }

  scores(person = 0) {
    const count = this.labels.length, at = this.#allocate(4 * count);
    const status = this.#core.motionrt_scores(this.#handle, BigInt(person), at);
    const scores = new Float32Array(this.#memory.buffer, at, count).slice();
    this.#core.free(at);
    this.#check(status);
    return scores;
  }

  chooseLabels(labels) {
    const texts = labels.map(label => this.#copy(new TextEncoder().encode(label + "\0")));
    const list = this.#allocate(4 * texts.length);
    texts.forEach((text, i) => this.#memory.setUint32(list + 4 * i, text, true));
    const status = this.#core.motionrt_choose_labels(this.#handle, list, texts.length);
    for (const text of [list, ...texts]) this.#core.free(text);
    this.#check(status);
    this.#readLabels();
  }

  enroll(label, person = 0) {
    const text = this.#copy(new TextEncoder().encode(label + "\0"));
    const status = this.#core.motionrt_enroll(this.#handle, text, BigInt(person));
    this.#core.free(text);
    this.#check(status);
    this.#readLabels();
  }

  setGestures(file) {
    const copy = file ? this.#copy(file) : 0;
    const status = this.#core.motionrt_set_gestures(this.#handle, copy, file?.length ?? 0);
    this.#core.free(copy);
    this.#check(status);
    this.#readLabels();
  }

  saveGestures() {
    const save = at => this.#check(this.#core.motionrt_save_gestures(this.#handle, at, this.#decisions));
    save(0);
    const size = this.#memory.getUint32(this.#decisions, true), at = this.#allocate(size);
    save(at);
    const file = new Uint8Array(this.#memory.buffer).slice(at, at + size);
    this.#core.free(at);
    return file;
  }

  limitAlarms(perMinute) {
    this.#check(this.#core.motionrt_limit_alarms(this.#handle, perMinute));
  }

  warning() {
    const at = this.#core.motionrt_warning(this.#handle);
    return at ? this.#text(at) : null;
  }

  reset(person) {
    const { motionrt_reset, motionrt_reset_all } = this.#core;
    this.#check(person === undefined ? motionrt_reset_all(this.#handle) : motionrt_reset(this.#handle, BigInt(person)));
  }

  get #memory() { // memory that grows gets another buffer
    if (this.#view.buffer !== this.#core.memory.buffer) this.#view = new DataView(this.#core.memory.buffer);
    return this.#view;
  }

  #allocate(bytes) {
    const at = this.#core.malloc(Math.max(bytes, 1));
    if (!at) throw new Error(`no memory for ${bytes} bytes`);
    return at;
  }

  #copy(bytes) {
    const at = this.#allocate(bytes.length);
    new Uint8Array(this.#memory.buffer).set(bytes, at);
    return at;
  }

  #text(at) {
    const bytes = new Uint8Array(this.#memory.buffer);
    return new TextDecoder().decode(bytes.slice(at, bytes.indexOf(0, at)));
  }

  #check(status) {
    if (status !== 0) throw new Error(this.#text(this.#core.motionrt_error()));
  }

  #readLabels() {
    const count = this.#core.motionrt_labels(this.#handle);
    const label = (_, i) => this.#text(this.#core.motionrt_label(this.#handle, i));
    this.labels = Object.freeze(Array.from({ length: count }, label));
  }

  #layout(name = null) {
    let layout = this.#layouts.get(name);
    if (!layout) {
      const { motionrt_layout, motionrt_joints, motionrt_dims } = this.#core;
      const text = name === null ? 0 : this.#copy(new TextEncoder().encode(name + "\0"));
      const status = motionrt_layout(this.#handle, text, this.#decisions);
      this.#core.free(text);
      this.#check(status);
      const number = this.#memory.getInt32(this.#decisions, true);
      layout = { number, joints: motionrt_joints(this.#handle, number), dims: motionrt_dims(this.#handle, number) };
      this.#layouts.set(name, layout);
    }
    return layout;
  }

  #read(count) {
    const memory = this.#memory;
    return Array.from({ length: count }, (_, i) => {
      const at = this.#decisions + i * DECISION_BYTES, event = EVENTS[memory.getInt32(at + 20, true)];
      return {
        person: Number(memory.getBigInt64(at, true)),
        label: this.labels[memory.getInt32(at + 12, true)] ?? "",
        score: memory.getFloat32(at + 16, true),
        event,
        eventLabel: event && this.labels[memory.getInt32(at + 24, true)],
        since: event === "onset" ? memory.getFloat64(at + 32, true) : null,
        status: STATUSES[memory.getInt32(at + 8, true)],
      };
    });
  }
}
