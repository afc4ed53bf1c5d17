// The npm package as bench/speed/web.py and tests/web use it: lines of JSON in, a line of JSON out for each.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";

const instantiate = WebAssembly.instantiate;
let memory;
WebAssembly.instantiate = async (...rest) => {
  const done = await instantiate(...rest);
  memory = done.instance.exports.memory;
  return done;
};
const { load, fromMediaPipe } = await import(process.argv[2]);
const file = name => readFile(`${process.argv[3]}/${name}`);
const recognizer = await load(
  process.argv[3] ? { model: { manifest: await file("manifest.json"), weights: await file("weights.safetensors") } } : {},
);

const withNaN = numbers => Float32Array.from(numbers, x => x ?? NaN);
const used = () => (globalThis.gc(), { wasm_bytes: memory.buffer.byteLength, heap_bytes: process.memoryUsage().heapUsed });

const actions = {
  labels: ({ choose }) => (choose && recognizer.chooseLabels(choose), recognizer.labels),
  enroll: ({ label, person }) => (recognizer.enroll(label, person), recognizer.labels),
  set_gestures: ({ base64 }) => (recognizer.setGestures(base64 && Buffer.from(base64, "base64")), recognizer.labels),
  save_gestures: () => Buffer.from(recognizer.saveGestures()).toString("base64"),
  limit_alarms: ({ per_minute }) => recognizer.limitAlarms(per_minute),
  warning: () => recognizer.warning(),
  evict: ({ t }) => recognizer.evict(t),
  reset: ({ person }) => recognizer.reset(person ?? undefined),
  landmarks({ landmarks }) {
    const { joints, confidence } = fromMediaPipe(landmarks);
    return { joints: [...joints], confidence: [...confidence] };
  },
  // decisions and probabilities of everybody in each frame
  step: ({ frames, layout }) => frames.map(({ t, poses }) => {
    const people = poses.map(pose => ({ ...pose, joints: withNaN(pose.joints) }));
    return recognizer.stepPeople(people, t, { layout }).map(now => ({ ...now, scores: [...recognizer.scores(now.person)] }));
  }),
  // latencies, ms, of `calls` steps through the poses
  time({ poses, layout, fps, first, calls }) {
    const joints = poses.map(withNaN);
    return Array.from({ length: calls }, (_, i) => {
      const started = performance.now();
      recognizer.step(joints[(first + i) % joints.length], (first + i) / fps, { layout });
      return performance.now() - started;
    });
  },
  // memory before and after `frames` frames in which people come and go
  grow({ poses, layout, frames }) {
    const joints = poses.map(withNaN);
    const run = (from, to) => {
      for (let i = from; i < to; i++) {
        recognizer.step(joints[i % joints.length], i / 20, { layout, person: Math.floor(i / 50) });
        if (i % 50 === 0) recognizer.evict(i / 20);
        if (i % 10 === 0) recognizer.scores(Math.floor(i / 50));
      }
    };
    recognizer.reset();
    run(0, 1000);
    const before = used();
    run(1000, 1000 + frames);
    return { before, after: used() };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { action, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { result: actions[action](rest) ?? null };
  } catch (error) {
    answer = { error: error.message };
  }
  console.log(JSON.stringify(answer));
}
