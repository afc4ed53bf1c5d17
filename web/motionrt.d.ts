/** The two files of a bundle: `manifest.json`, and `weights.safetensors`. */
export interface Bundle {
  manifest: Uint8Array;
  weights: Uint8Array;
}

export interface LoadOptions {
  /** A recognizer to load instead of `live`. */
  model?: Bundle;
  /** The recognizer of 2-D keypoints that the manifest of `model` names in `flat_model`. */
  flat?: Bundle;
  /** "bf16" halves the memory of the weights. Default: "fp32". */
  precision?: "fp32" | "bf16";
  /** Content of a file of this package by its path, such as "motionrt.wasm". Default: fetched from beside motionrt.js. */
  read?(path: string): Promise<Uint8Array>;
}

/** One person's joints in one frame. */
export interface Pose {
  /** Identifies the person over time, a whole number. Default: 0. */
  person?: number;
  /** [joints x 3], meters, y up; in a 2-D layout [joints x 2], any unit, y up or down. NaN: not seen. */
  joints: ArrayLike<number>;
  /** [joints], 0 to 1; 0: not seen. */
  confidence?: ArrayLike<number>;
}

/** The action of one person in one frame. */
export interface Decision {
  person: number;
  /** The most probable label; "" before the first frame of a model without a "none" label. */
  label: string;
  /** Its probability, 0 to 1. */
  score: number;
  /** Whether an action starts or ends with this frame. */
  event: "onset" | "offset" | null;
  /** The action that starts or ends. */
  eventLabel: string | null;
  /** For an onset, the time of the first frame of the action, seconds. */
  since: number | null;
  /** "dropped": not later than the frame before, ignored; "missing": not visible so far; "lost": out of sight for too
   * long, starts over. */
  status: "ok" | "dropped" | "missing" | "lost";
}

/** Recognizes the actions of people, frame by frame. Functions throw an Error that tells what was wrong with the input. */
export interface Recognizer {
  /** Labels, in the order of `scores`: "none" and gestures, too. */
  readonly labels: readonly string[];
  readonly license: string;

  /**
   * Takes a pose of one person.
   * @param t seconds, increasing
   * @param options layout: "mediapipe33", "kinect20", "smpl22", …, in 2-D "coco17", "openpose18" or "jhmdb15"; default:
   *   the model's own.
   */
  step(
    joints: ArrayLike<number>, t: number,
    options?: { layout?: string; person?: number; confidence?: ArrayLike<number> },
  ): Decision;

  /** Takes the poses of up to 16 different people in one frame, as one batch. */
  stepPeople(poses: readonly Pose[], t: number, options?: { layout?: string }): Decision[];

  /** Forgets everybody who has not been seen for 0.5 s; their last decisions have the offset of an unfinished action. */
  evict(t: number): Decision[];

  /** Current probabilities [labels] of a person. */
  scores(person?: number): Float32Array;

  /** Limits the answers to some labels and "none"; an empty list: all labels again. */
  chooseLabels(labels: readonly string[]): void;

  /**
   * Makes the last 3 s of a person an example of a label, which may be new: for a model with compiled labels. Call it
   * when the gesture is over, best five times or more. Examples of "none" are like a gesture, but none of them.
   */
  enroll(label: string, person?: number): void;

  /** Replaces all gestures by those of a file of `saveGestures`, or in Python of `save_gestures("x.safetensors")`. */
  setGestures(file: Uint8Array | null): void;

  /** The examples of all gestures, as a file. */
  saveGestures(): Uint8Array;

  /** Uses the thresholds for at most so many false alarms per minute. */
  limitAlarms(perMinute: number): void;

  /** What is implausible about the times so far, such as milliseconds instead of seconds; null: nothing. */
  warning(): string | null;

  /** Forgets one person, or everybody. */
  reset(person?: number): void;
}

/** Loads `live` or another recognizer. */
export function load(options?: LoadOptions): Promise<Recognizer>;

/** A pose in the layout "mediapipe33" of the world landmarks of MediaPipe. */
export function fromMediaPipe(
  landmarks: readonly { x: number; y: number; z: number; visibility?: number }[],
): { joints: Float32Array; confidence: Float32Array };
