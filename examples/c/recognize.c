/* Recognizes the actions of people in a stream of poses.
 *
 *   recognize BUNDLE LAYOUT < frames
 *
 * Each input line is one person's pose, `t person x y z x y z ...`: the time in seconds, the person's number, and the
 * joints of the layout ("kinect20", ...) in meters, y up, nan for a joint that was not seen. Lines that start with #
 * are skipped. Each output line is a decision with tab-separated fields: `t person label score`, followed by `onset
 * label since` or `offset label` where an action starts or ends.
 */
#include <errno.h>
#include <motionrt/motionrt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_JOINTS = 256, MAX_LINE = 32768 };

/* Advances *text to the end of the number that strtod or strtoll found; 0 if there is none. */
static int advance(const char** text, const char* end) {
  if (end == *text || !strchr(" \t\r\n", *end)) return 0;
  *text = end;
  return 1;
}

static int read_number(const char** text, double* number) {
  char* end;
  *number = strtod(*text, &end);
  return advance(text, end);
}

static int read_person(const char** text, int64_t* person) {
  char* end;
  errno = 0;
  *person = strtoll(*text, &end, 10);
  return advance(text, end) && errno == 0;
}

/* Returns an error message, or NULL. */
static const char* read_pose(const char* line, double* t, int64_t* person, float* joints, int32_t joint_count) {
  static char message[100];
  double number;
  int32_t count = 0;
  if (!read_number(&line, t)) return "expected a time in seconds first";
  if (!read_person(&line, person)) return "expected the person's number, an integer, after the time";
  while (read_number(&line, &number)) {
    if (count < 3 * joint_count) joints[count] = (float)number;
    ++count;
  }
  line += strspn(line, " \t\r\n");
  if (*line != '\0') {
    sprintf(message, "'%.20s' is not a number", strtok((char*)line, " \t\r\n"));
    return message;
  }
  if (count == 3 * joint_count) return NULL;
  sprintf(message, "%d coordinates, expected %d: x y z of %d joints", count, 3 * joint_count, joint_count);
  return message;
}

static const char* label(const motionrt_recognizer* recognizer, int32_t index) {
  const char* text = motionrt_label(recognizer, index);
  return text ? text : "-";
}

static void print_decision(const motionrt_recognizer* recognizer, double t, const motionrt_decision* d) {
  printf("%.3f\t%lld\t%s\t%.6f", t, (long long)d->person, label(recognizer, d->label), d->score);
  if (d->event == MOTIONRT_ONSET) printf("\tonset\t%s\t%.3f", label(recognizer, d->event_label), d->since);
  if (d->event == MOTIONRT_OFFSET) printf("\toffset\t%s", label(recognizer, d->event_label));
  putchar('\n');
  fflush(stdout);
}

/* Returns the exit status. */
static int recognize(motionrt_recognizer* recognizer, const char* layout_name) {
  static char line[MAX_LINE];
  static float joints[3 * MAX_JOINTS];
  int32_t layout;
  long number = 0;
  if (motionrt_layout(recognizer, layout_name, &layout) != MOTIONRT_OK) {
    fprintf(stderr, "recognize: %s\n", motionrt_error());
    return 2;
  }
  while (fgets(line, sizeof line, stdin)) {
    motionrt_decision decision;
    motionrt_pose pose = {0, joints, NULL, motionrt_joints(recognizer, layout)};
    double t;
    const char* error = NULL;
    ++number;
    if (strlen(line) == sizeof line - 1) error = "longer than 32766 characters";
    if (!error && line[0] == '#') continue;
    if (!error) error = read_pose(line, &t, &pose.person, joints, pose.joint_count);
    if (!error && motionrt_step(recognizer, t, &pose, 1, layout, &decision) != MOTIONRT_OK) error = motionrt_error();
    if (error) {
      fprintf(stderr, "recognize: line %ld: %s\n", number, error);
      return 2;
    }
    print_decision(recognizer, t, &decision);
  }
  return 0;
}

int main(int argc, char** argv) {
  motionrt_recognizer* recognizer;
  int status;
  if (argc != 3) {
    fputs("usage: recognize BUNDLE LAYOUT < frames\n", stderr);
    return 2;
  }
  if (motionrt_load(argv[1], MOTIONRT_FP32, &recognizer) != MOTIONRT_OK) {
    fprintf(stderr, "recognize: %s\n", motionrt_error());
    return 2;
  }
  status = recognize(recognizer, argv[2]);
  motionrt_free(recognizer);
  return status;
}
