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
 * Every function may be called from several threads; calls with one handle wait for each other. A step allocates
 * nothing. Functions that return a motionrt_status leave a message for motionrt_error where it is not MOTIONRT_OK,
 * and then change nothing.
 */
#ifndef MOTIONRT_H
#define MOTIONRT_H

#include <stdint.h>

#if defined(__GNUC__)
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
  MOTIONRT_INVALID_ARGUMENT = 1, /* the call cannot be carried out as it is */
  MOTIONRT_BAD_BUNDLE = 2,       /* the bundle is missing or damaged, or of a kind this engine cannot run */
  MOTIONRT_OUT_OF_MEMORY = 3,
  MOTIONRT_INTERNAL = 4
} motionrt_status;

typedef enum motionrt_precision {
  MOTIONRT_FP32 = 0,
  MOTIONRT_BF16 = 1 /* weights take half the memory */
} motionrt_precision;

typedef enum motionrt_event { MOTIONRT_NO_EVENT = 0, MOTIONRT_ONSET = 1, MOTIONRT_OFFSET = 2 } motionrt_event;

typedef enum motionrt_tracking {
  MOTIONRT_TRACKED = 0, /* the pose was taken */
  MOTIONRT_DROPPED = 1, /* it is not later than the person's pose before, and was ignored */
  MOTIONRT_MISSING = 2, /* nobody can be seen in it yet */
  MOTIONRT_LOST = 3     /* the person was unseen for too long, and starts anew */
} motionrt_tracking;

typedef struct motionrt_recognizer motionrt_recognizer;
typedef struct motionrt_tracker motionrt_tracker;

/* One person's pose. */
typedef struct motionrt_pose {
  int64_t person;          /* any number that stays with the person */
  const float* joints;     /* [joint_count, 3] metres, y up; NaN where a joint was not seen */
  const float* confidence; /* [joint_count], 0 where a joint was not seen; or NULL */
  int32_t joint_count;     /* must be that of the layout */
} motionrt_pose;

typedef struct motionrt_decision {
  int64_t person;
  motionrt_tracking tracking;
  int32_t label; /* index of the most probable label; -1 before the first frame of a model without a "none" label */
  float score;   /* its probability */
  motionrt_event event;
  int32_t event_label; /* the action that starts or ends; -1 without an event */
  double since;        /* of an onset: when its action began, in seconds */
} motionrt_decision;

/* Text of the version, for example "0.3.0". */
MOTIONRT_API const char* motionrt_version(void);

/* What went wrong in this thread's last call that failed; valid until its next one. */
MOTIONRT_API const char* motionrt_error(void);

/* Loads the folder of a recogniser's bundle; precision is a motionrt_precision. Free it with motionrt_free. */
MOTIONRT_API motionrt_status motionrt_load(const char* folder, int32_t precision, motionrt_recognizer** recognizer);
MOTIONRT_API void motionrt_free(motionrt_recognizer* recognizer); /* NULL is no error */

/* Labels are numbered from 0; NULL for a number that is none. */
MOTIONRT_API int32_t motionrt_labels(const motionrt_recognizer* recognizer);
MOTIONRT_API const char* motionrt_label(const motionrt_recognizer* recognizer, int32_t index);
MOTIONRT_API const char* motionrt_license(const motionrt_recognizer* recognizer);

/* The number of a built-in skeleton layout, for motionrt_step: "kinect20", "ntu25", "mediapipe33", "smpl22", ...
 * NULL: the model's own. */
MOTIONRT_API motionrt_status motionrt_layout(motionrt_recognizer* recognizer, const char* name, int32_t* layout);

/* The number of a layout of your own: weights [model_joints, joint_count] make the model's joints, in the order of
 * its own layout, out of the sensor's. */
MOTIONRT_API motionrt_status motionrt_add_layout(motionrt_recognizer* recognizer, const float* weights,
                                                 int32_t model_joints, int32_t joint_count, int32_t* layout);

/* Joints of a layout; -1 for a number that is none. */
MOTIONRT_API int32_t motionrt_joints(const motionrt_recognizer* recognizer, int32_t layout);

/* Takes the poses of `count` different people at time t (seconds, rising for each person), at most
 * MOTIONRT_MAX_PEOPLE; writes as many decisions. They go through the network together. */
MOTIONRT_API motionrt_status motionrt_step(motionrt_recognizer* recognizer, double t, const motionrt_pose* poses,
                                           int32_t count, int32_t layout, motionrt_decision* decisions);

/* Forgets whoever has not been seen for 0.5 s (the model's max_gap_s) at time t. Writes their last decisions, at most
 * MOTIONRT_MAX_PEOPLE, with the end of an action that was going on, and their number. */
MOTIONRT_API motionrt_status motionrt_evict(motionrt_recognizer* recognizer, double t,
                                            motionrt_decision* decisions, int32_t* count);

/* Probabilities [labels] of a person now. */
MOTIONRT_API motionrt_status motionrt_scores(motionrt_recognizer* recognizer, int64_t person, float* scores);

/* Forgets one person, or everybody. */
MOTIONRT_API motionrt_status motionrt_reset(motionrt_recognizer* recognizer, int64_t person);
MOTIONRT_API motionrt_status motionrt_reset_all(motionrt_recognizer* recognizer);

/* A tracker gives poses their person: ids that stay with people from frame to frame, by predicted position and body
 * shape. An id is kept for 0.5 s out of sight; for 10 s more, somebody whose bone lengths clearly match gets it back.
 *
 *   motionrt_tracker* tracker;
 *   motionrt_tracker_create("kinect20", &tracker);
 *   motionrt_track(tracker, t, poses, count);
 *
 * layout: name of the built-in layout of the poses. Those of 2-D layouts ("coco17", ...) hold pixels
 * [joint_count, 2]. Free it with motionrt_tracker_free. */
MOTIONRT_API motionrt_status motionrt_tracker_create(const char* layout, motionrt_tracker** tracker);

/* The same for a layout of your own: parents [joint_count] of every joint, -1 for a root; dims is 2 or 3. */
MOTIONRT_API motionrt_status motionrt_tracker_create_custom(const int32_t* parents, int32_t joint_count, int32_t dims,
                                                            motionrt_tracker** tracker);
MOTIONRT_API void motionrt_tracker_free(motionrt_tracker* tracker); /* NULL is no error */

/* Sets `person` of `count` poses, at most MOTIONRT_MAX_POSES, of one frame at time t (seconds, rising): 0 to
 * MOTIONRT_MAX_PEOPLE - 1, or -1 for a pose without joints or of one person too many, which motionrt_step must not
 * get. */
MOTIONRT_API motionrt_status motionrt_track(motionrt_tracker* tracker, double t, motionrt_pose* poses, int32_t count);

/* Forgets everybody. */
MOTIONRT_API motionrt_status motionrt_tracker_reset(motionrt_tracker* tracker);

#ifdef __cplusplus
}
#endif
#endif
