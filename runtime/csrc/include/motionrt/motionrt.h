/* motionrt: skeletons in, actions out, one frame at a time.
 *
 *   motionrt_recognizer* rec;
 *   if (motionrt_load("models/live", MOTIONRT_FP32, &rec)) { puts(motionrt_error()); exit(2); }
 *   int32_t kinect;
 *   motionrt_layout(rec, "kinect20", &kinect);
 *   motionrt_pose pose = {0, joints, NULL, 20};
 *   motionrt_decision now;
 *   motionrt_step(rec, t, &pose, 1, kinect, &now);
 *   puts(motionrt_label(rec, now.label));
 *
 * All functions are thread-safe; calls with the same handle wait for each other. A step does not allocate memory. A
 * function that returns a status other than MOTIONRT_OK has changed nothing; motionrt_error returns the message.
 */
#ifndef MOTIONRT_H
#define MOTIONRT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(motionrt_EXPORTS)
#define MOTIONRT_API __declspec(dllexport)
#elif defined(__GNUC__)
#define MOTIONRT_API __attribute__((visibility("default")))
#else
#define MOTIONRT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { MOTIONRT_MAX_PEOPLE = 16, MOTIONRT_MAX_POSES = 64 };

typedef enum motionrt_status {
  MOTIONRT_OK = 0,
  MOTIONRT_INVALID_ARGUMENT = 1, /* an argument of the call is invalid */
  MOTIONRT_BAD_BUNDLE = 2,       /* the bundle is missing, damaged or of a type that this engine does not run */
  MOTIONRT_OUT_OF_MEMORY = 3,
  MOTIONRT_INTERNAL = 4
} motionrt_status;

typedef enum motionrt_precision {
  MOTIONRT_FP32 = 0,
  MOTIONRT_BF16 = 1 /* halves the memory of the weights */
} motionrt_precision;

typedef enum motionrt_event { MOTIONRT_NO_EVENT = 0, MOTIONRT_ONSET = 1, MOTIONRT_OFFSET = 2 } motionrt_event;

typedef enum motionrt_tracking {
  MOTIONRT_TRACKED = 0, /* the pose was taken */
  MOTIONRT_DROPPED = 1, /* it is not later than the person's last pose, and was ignored */
  MOTIONRT_MISSING = 2, /* no person is visible yet */
  MOTIONRT_LOST = 3     /* the person was out of sight for too long and starts over */
} motionrt_tracking;

typedef struct motionrt_recognizer motionrt_recognizer;
typedef struct motionrt_tracker motionrt_tracker;
typedef struct motionrt_retargeter motionrt_retargeter;

/* One person's pose. */
typedef struct motionrt_pose {
  int64_t person;          /* any number that identifies the person over time */
  const float* joints;     /* [joint_count, 3] meters, y up; [joint_count, 2] in any unit, y up or down, in a 2-D
                            * layout; NaN for joints that were not seen */
  const float* confidence; /* [joint_count], 0 for joints that were not seen; or NULL */
  int32_t joint_count;     /* as in the layout */
} motionrt_pose;

typedef struct motionrt_decision {
  int64_t person;
  motionrt_tracking tracking;
  int32_t label; /* most probable label; -1 before the first frame of a model without a "none" label */
  float score;   /* its probability */
  motionrt_event event;
  int32_t event_label; /* label of the action that starts or ends; -1 without an event */
  double since;        /* for an onset: start of its action, in seconds */
} motionrt_decision;

/* Version, for example "0.3.0". */
MOTIONRT_API const char* motionrt_version(void);

/* Message of the last call of this thread that failed; valid until the next failure. */
MOTIONRT_API const char* motionrt_error(void);

/* Loads a recognizer from the folder of a bundle; precision is a motionrt_precision. Free it with motionrt_free. */
MOTIONRT_API motionrt_status motionrt_load(const char* folder, int32_t precision, motionrt_recognizer** recognizer);
MOTIONRT_API void motionrt_free(motionrt_recognizer* recognizer); /* NULL is allowed */

/* The contents of two files of a bundle, for example assets of an app. */
typedef struct motionrt_bundle {
  const void* manifest; /* manifest.json */
  size_t manifest_size; /* in bytes */
  const void* weights;  /* weights.safetensors */
  size_t weights_size;
} motionrt_bundle;

/* The same from memory, which is not used after the call. flat: the bundle that runs 2-D layouts, which `bundle` names
 * in flat_model; or NULL. */
MOTIONRT_API motionrt_status motionrt_load_memory(const motionrt_bundle* bundle, const motionrt_bundle* flat,
                                                  int32_t precision, motionrt_recognizer** recognizer);

/* Adds a skeleton layout to the built-in ones, for every function that takes the name of one. json: the text of a
 * layout file (docs/extend.md), zero-terminated; its joints are known by their names. A name that is taken is an error,
 * unless by the same layout. */
MOTIONRT_API motionrt_status motionrt_register_layout(const char* name, const char* json);

/* Limits the answers to `count` of the model's labels, in this order, and its "none", which need not be among them;
 * count 0: all labels again. The other labels count as "none" (as the bundle's decision.others says), and fewer labels
 * are told more reliably. From then on, labels are numbered among those chosen. Current actions end without an event.
 */
MOTIONRT_API motionrt_status motionrt_choose_labels(motionrt_recognizer* recognizer, const char* const* labels,
                                                    int32_t count);

/* Uses the thresholds of the bundle for at most so many false alarms (wrong onsets) per minute, instead of its default
 * ones. Fails if it has none for that number. */
MOTIONRT_API motionrt_status motionrt_limit_alarms(motionrt_recognizer* recognizer, double alarms_per_minute);

/* Gestures are labels that are learned from examples, of a model with compiled labels (motionrt export zero-shot
 * --labels) that has none of its own. The person's last 3 s (the model's window_s) become an example of the label,
 * which is new, with a number before that of "none", or has a text, too. Enroll when the gesture is over, best five
 * times or more; for a recording, step it as a person of its own. Examples of "none" are of motion like a gesture, but
 * none of them. At most 200 examples a label. This and the next function end current actions without an event, forget
 * the labels that were chosen, and take longer than a frame if there are many examples. */
MOTIONRT_API motionrt_status motionrt_enroll(motionrt_recognizer* recognizer, const char* label, int64_t person);

/* Replaces all gestures by those of a file of motionrt_save_gestures or, in Python, of save_gestures("x.safetensors"),
 * made with the same encoder; size 0: by none. */
MOTIONRT_API motionrt_status motionrt_set_gestures(motionrt_recognizer* recognizer, const void* file, size_t size);

/* Writes the examples of all gestures to `file`, which has room for `*size` bytes, and their number to `*size`. file
 * NULL: only the number. */
MOTIONRT_API motionrt_status motionrt_save_gestures(motionrt_recognizer* recognizer, void* file, size_t* size);

/* Number of labels, and their texts, which are valid until motionrt_free; NULL for an invalid index. */
MOTIONRT_API int32_t motionrt_labels(const motionrt_recognizer* recognizer);
MOTIONRT_API const char* motionrt_label(const motionrt_recognizer* recognizer, int32_t index);
MOTIONRT_API const char* motionrt_license(const motionrt_recognizer* recognizer);

/* Number of a built-in skeleton layout, for motionrt_step: "kinect20", "ntu25", "mediapipe33", "smpl22", ...; NULL for
 * the model's own layout. 2-D layouts ("coco17", "openpose18", "jhmdb15") are for models whose manifest has
 * frontend.flat, or flat_model, the name of the bundle beside it that runs them. */
MOTIONRT_API motionrt_status motionrt_layout(motionrt_recognizer* recognizer, const char* name, int32_t* layout);

/* Adds a custom layout and returns its number: weights [model_joints, joint_count] map the sensor's joints to the
 * model's, in the order of its own layout. Rows of hips and joints below them may be zeros: those hang at rest. */
MOTIONRT_API motionrt_status motionrt_add_layout(motionrt_recognizer* recognizer, const float* weights,
                                                 int32_t model_joints, int32_t joint_count, int32_t* layout);

/* The same for a layout in 2-D, of a model that takes those. */
MOTIONRT_API motionrt_status motionrt_add_flat_layout(motionrt_recognizer* recognizer, const float* weights,
                                                      int32_t model_joints, int32_t joint_count, int32_t* layout);

/* Number of joints of a layout, and of coordinates of each (2 or 3); -1 for an invalid number. */
MOTIONRT_API int32_t motionrt_joints(const motionrt_recognizer* recognizer, int32_t layout);
MOTIONRT_API int32_t motionrt_dims(const motionrt_recognizer* recognizer, int32_t layout);

/* Takes the poses of `count` different people, at most MOTIONRT_MAX_PEOPLE, at time t (seconds, increasing for each
 * person), and writes as many decisions. The poses go through the network as one batch. A pose in which all joints are
 * within a tenth of the model's reach_m (0.2 m) of the root, such as zeros, counts as a pose without joints. */
MOTIONRT_API motionrt_status motionrt_step(motionrt_recognizer* recognizer, double t, const motionrt_pose* poses,
                                           int32_t count, int32_t layout, motionrt_decision* decisions);

/* What is implausible about the times of the poses that were taken, in one line: most of them were dropped or came
 * after a gap, or there are more than 250 a second, as if t were not in seconds. NULL if nothing is, and for the first
 * 30 poses. Valid until the next call of this function by this thread. */
MOTIONRT_API const char* motionrt_warning(motionrt_recognizer* recognizer);

/* Forgets everybody who has not been seen for 0.5 s (the model's max_gap_s) at time t. Writes their number and their
 * last decisions, at most MOTIONRT_MAX_PEOPLE, with the offset of an unfinished action. */
MOTIONRT_API motionrt_status motionrt_evict(motionrt_recognizer* recognizer, double t, motionrt_decision* decisions,
                                            int32_t* count);

/* Writes the current probabilities [labels] of a person. */
MOTIONRT_API motionrt_status motionrt_scores(motionrt_recognizer* recognizer, int64_t person, float* scores);

/* Forgets one person, or everybody. */
MOTIONRT_API motionrt_status motionrt_reset(motionrt_recognizer* recognizer, int64_t person);
MOTIONRT_API motionrt_status motionrt_reset_all(motionrt_recognizer* recognizer);

/* A tracker assigns poses to people: ids that persist from frame to frame, by predicted position and body shape. An id
 * is kept for 0.5 s out of sight; for another 10 s, a newcomer whose bone lengths clearly match gets it back.
 *
 *   motionrt_tracker* tracker;
 *   motionrt_tracker_create("kinect20", &tracker);
 *   motionrt_track(tracker, t, poses, count);
 *
 * layout: name of the built-in layout of the poses. Joints of 2-D layouts ("coco17", ...) are pixels
 * [joint_count, 2]. Free it with motionrt_tracker_free. */
MOTIONRT_API motionrt_status motionrt_tracker_create(const char* layout, motionrt_tracker** tracker);

/* The same for a custom layout: parents [joint_count] of the joints, -1 for a root; dims is 2 or 3. */
MOTIONRT_API motionrt_status motionrt_tracker_create_custom(const int32_t* parents, int32_t joint_count, int32_t dims,
                                                            motionrt_tracker** tracker);
MOTIONRT_API void motionrt_tracker_free(motionrt_tracker* tracker); /* NULL is allowed */

/* Sets `person` of the `count` poses, at most MOTIONRT_MAX_POSES, of a frame at time t (seconds, increasing): 0 to
 * MOTIONRT_MAX_PEOPLE - 1; -1 for a pose without joints or with all joints in one point, or if there are more people
 * than that. Do not pass poses of person -1 to motionrt_step. Does not allocate memory. */
MOTIONRT_API motionrt_status motionrt_track(motionrt_tracker* tracker, double t, motionrt_pose* poses, int32_t count);

/* Forgets everybody. */
MOTIONRT_API motionrt_status motionrt_tracker_reset(motionrt_tracker* tracker);

/* The pose of a robot's base, whose z is up and x forward. The floor is at 0. */
typedef struct motionrt_robot_pose {
  motionrt_tracking tracking; /* other than MOTIONRT_TRACKED: the robot keeps its pose */
  double position[3];         /* meters */
  double quaternion[4];       /* w, x, y, z */
  int32_t contacts[2];        /* whether the left and the right foot rest on the floor */
  double error_m;             /* of the keypoint that is farthest from where it should be */
  const char* worst;          /* its name: "left_wrist", ... */
} motionrt_robot_pose;

/* A retargeter maps a person's joints to a robot's joint angles, one frame at a time: bone directions and resting feet
 * are kept, within the limits of the joints' angles and velocities.
 *
 *   motionrt_retargeter* g1;
 *   motionrt_retargeter_create("g1", "smpl22", &g1);
 *   motionrt_retarget(g1, t, &pose, angles, &base);
 *
 * robot: name of a built-in robot, or path of a robot file (.json). layout: name of the built-in 3-D layout of the
 * poses. Free it with motionrt_retargeter_free. */
MOTIONRT_API motionrt_status motionrt_retargeter_create(const char* robot, const char* layout,
                                                        motionrt_retargeter** retargeter);
MOTIONRT_API void motionrt_retargeter_free(motionrt_retargeter* retargeter); /* NULL is allowed */

/* Number of the robot's joints, and their names; NULL for an invalid index. */
MOTIONRT_API int32_t motionrt_robot_joints(const motionrt_retargeter* retargeter);
MOTIONRT_API const char* motionrt_robot_joint(const motionrt_retargeter* retargeter, int32_t index);

/* Takes a person's pose at time t (seconds, increasing) and writes the angles [motionrt_robot_joints] in radians and
 * the base. Does not allocate memory. `person` of the pose is ignored. */
MOTIONRT_API motionrt_status motionrt_retarget(motionrt_retargeter* retargeter, double t, const motionrt_pose* pose,
                                               double* angles, motionrt_robot_pose* base);

/* Starts over with the next pose. */
MOTIONRT_API motionrt_status motionrt_retargeter_reset(motionrt_retargeter* retargeter);

#ifdef __cplusplus
}
#endif
#endif
