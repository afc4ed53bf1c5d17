// A step does not allocate: neither with operator new nor with malloc, in this program or a library that it uses.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "check.hpp"
#include "engine.hpp"
#include "motionrt/motionrt.h"
#include "poses.hpp"
#include "tiny_bundle.hpp"

namespace {
volatile bool counting = false;  // volatile: the compiler assumes that malloc does not read it
volatile long allocations = 0;
void count() { allocations = allocations + counting; }
}  // namespace

#ifdef SANITIZED  // the address sanitizer has already replaced malloc
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, std::size_t),
                                                         void (*free_hook)(const volatile void*));
void count_allocations() {
  __sanitizer_install_malloc_and_free_hooks([](const volatile void*, std::size_t) { count(); },
                                            [](const volatile void*) {});
}
#else  // replaces malloc and related functions of the C library
extern "C" {
#define REPLACED __attribute__((visibility("default")))
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t number, std::size_t size);
void* __libc_realloc(void* block, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

REPLACED void* malloc(std::size_t size) { return count(), __libc_malloc(size); }
REPLACED void* calloc(std::size_t number, std::size_t size) { return count(), __libc_calloc(number, size); }
REPLACED void* realloc(void* block, std::size_t size) { return count(), __libc_realloc(block, size); }
REPLACED void* memalign(std::size_t alignment, std::size_t size) { return count(), __libc_memalign(alignment, size); }
REPLACED void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
REPLACED int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  *block = memalign(alignment, size);
  return *block ? 0 : 12;
}
}
void count_allocations() {}
#endif

constexpr int kPeople = MOTIONRT_MAX_PEOPLE;
constexpr double kFrame_s = 1 / 30.;
#ifdef SLOW  // sanitized or emulated
constexpr int kSteps = 50;
#else
constexpr int kSteps = 2000;
#endif

struct Run {
  explicit Run(const std::string& folder = MODELS "/live", const char* name = "kinect20") {
    motionrt_recognizer* r = nullptr;
    CHECK(motionrt_load(folder.c_str(), MOTIONRT_FP32, &r) == MOTIONRT_OK);
    recognizer.reset(r);
    CHECK(motionrt_layout(r, name, &layout) == MOTIONRT_OK);
    size = motionrt_dims(r, layout) * motionrt_joints(r, layout);
    joints.resize(static_cast<std::size_t>(kPeople) * size);
  }

  // All people move; hidden: all joints are missing.
  void step(int people, std::int64_t first = 0, bool hidden = false) {
    const int count = motionrt_joints(recognizer.get(), layout);
    for (int i = 0; i < people; ++i) {
      float* pose = joints.data() + size * i;
      for (int k = 0; k < size; ++k)
        pose[k] = hidden ? std::numeric_limits<float>::quiet_NaN()
                         : 0.6f * std::sin(static_cast<float>(k)) + 0.2f * std::sin(static_cast<float>(5 * t + k + i));
      poses[i] = {first + i, pose, nullptr, count};
    }
    const auto status = motionrt_step(recognizer.get(), t, poses, people, layout, decisions);
    failed += status != MOTIONRT_OK;
    for (int i = 0; i < people; ++i) {
      lost += decisions[i].tracking == MOTIONRT_LOST;
      dropped += decisions[i].tracking == MOTIONRT_DROPPED;
    }
    t += kFrame_s;
  }

  struct Free {
    void operator()(motionrt_recognizer* r) const { motionrt_free(r); }
  };
  std::unique_ptr<motionrt_recognizer, Free> recognizer;
  std::int32_t layout = -1, size = 0;  // coordinates of a pose
  double t = 0;
  std::vector<float> joints;
  motionrt_pose poses[kPeople];
  motionrt_decision decisions[kPeople];
  int failed = 0, lost = 0, dropped = 0, evicted = 0;
};

// Number of allocations of `action`.
template <class Action>
long allocations_of(Action action) {
  allocations = 0;
  counting = true;
  action();
  counting = false;
  return allocations;
}

void allocations_are_counted() {
  void* volatile block = nullptr;
  CHECK(allocations_of([&] { block = std::malloc(100); }) == 1);
  std::free(block);
  CHECK(allocations_of([&] { block = ::operator new(100); }) == 1);
  ::operator delete(block);
  std::string text;
  CHECK(allocations_of([&] { text = std::to_string(1e300); }) > 0);  // by the standard library
  CHECK(allocations_of([&] {
          motionrt_recognizer* r;
          motionrt_load("nowhere", MOTIONRT_FP32, &r);
        }) > 0);
}

void steps_allocate_nothing(Run run, int people, bool few_labels = false) {
  const char* const labels[] = {"bow", "kick"};
  if (few_labels) CHECK(motionrt_choose_labels(run.recognizer.get(), labels, 2) == MOTIONRT_OK);
  for (int i = 0; i < 10; ++i) run.step(people);
  CHECK(allocations_of([&] {
          for (int i = 0; i < kSteps; ++i) run.step(people);
        }) == 0);
  CHECK(run.failed == 0 && run.lost == 0 && run.dropped == 0);
}

void comings_and_goings_allocate_nothing() {
  Run run;
  std::vector<float> scores(motionrt_labels(run.recognizer.get()));
  const auto round = [&](std::int64_t first) {
    motionrt_recognizer* r = run.recognizer.get();
    for (int i = 0; i < 10; ++i) run.step(8, first);
    run.t += 0.2;  // several frames are due
    run.step(8, first);
    run.t -= 0.3;
    run.step(8, first);  // late
    run.t += 1;
    run.step(kPeople, first);  // back after a gap, and others
    for (int i = 0; i < 20; ++i) run.step(1, first, true);
    run.failed += motionrt_reset(r, first + 1) != MOTIONRT_OK;
    run.t += 1;
    run.step(1, first);  // all others are gone
    std::int32_t gone = 0;
    run.failed += motionrt_evict(r, run.t, run.decisions, &gone) != MOTIONRT_OK;
    run.evicted += gone;
    run.t += 1;
    run.step(kPeople, first + 100);  // newcomers replace the first one
    run.t += 1;
    run.step(kPeople, first);
    run.failed += motionrt_scores(r, first, scores.data()) != MOTIONRT_OK;
    run.failed += motionrt_reset_all(r) != MOTIONRT_OK;
  };
  round(0);
  CHECK(allocations_of([&] {
          for (int i = 1; i <= kSteps / 50; ++i) round(i);
        }) == 0);
  CHECK(run.evicted > 0 && run.lost > 0 && run.dropped > 0);
  CHECK(run.failed == 0);
}

// Outputs any number of logits.
struct AnyLabels : motionrt::Network {
  int joints() const override { return kJoints; }
  int labels() const override { return count; }
  int capacity() const override { return kPeople; }
  void begin(int) override {}
  void step(int n, const int*, const float*, float* logits_NC, float*) override {
    std::fill(logits_NC, logits_NC + n * count, 0.f);
  }
  void relabel(int labels) override { count = labels; }
  int count = 3;
};

void steps_with_other_labels_allocate_nothing() {
  motionrt::Engine engine(tiny_config(), std::make_shared<AnyLabels>());
  engine.add_layout(identity().data(), kJoints);
  const auto joints = pose();
  const motionrt::Observation seen = {0, joints.data(), nullptr};
  motionrt::Outcome out;
  double t = 0;
  for (const int labels : {2, 41, 1001}) {
    CHECK(allocations_of([&] { engine.relabel(labels, labels - 1); }) > 0);
    CHECK(allocations_of([&] {
            for (int i = 0; i < kSteps; ++i) engine.step(t += kFrame_s, 1, &seen, 0, &out);
          }) == 0);
  }
}

void tracking_allocates_nothing() {
  motionrt_tracker* tracker = nullptr;
  CHECK(motionrt_tracker_create("kinect20", &tracker) == MOTIONRT_OK);
  constexpr int kCount = 20, kPoses = MOTIONRT_MAX_POSES;
  std::vector<float> joints(std::size_t{kPoses} * 3 * kCount);
  std::vector<motionrt_pose> poses(kPoses);
  int failed = 0, ids = 0;
  double t = 0;
  const auto frame = [&](int k, int people) {
    for (int i = 0; i < people; ++i) {
      float* pose = joints.data() + 3 * kCount * i;
      for (int v = 0; v < 3 * kCount; ++v)
        pose[v] =
            std::sin(static_cast<float>(v * (i + 1))) + (v % 3 == 0 ? 0.1f * static_cast<float>(i * (k % 50)) : 0);
      poses[i] = {0, pose, nullptr, kCount};
    }
    failed += motionrt_track(tracker, t += kFrame_s, poses.data(), people) != MOTIONRT_OK;
    for (int i = 0; i < people; ++i) ids += poses[i].person >= 0;
  };
  CHECK(allocations_of([&] {
          for (int k = 0; k < kSteps; ++k) frame(k, k % 200 < 60 ? 8 : k % 200 < 100 ? 2 : k % 200 < 120 ? kPoses : 0);
        }) == 0);
  CHECK(failed == 0 && ids > kSteps / 2);
  motionrt_tracker_free(tracker);
}

void retargeting_allocates_nothing() {
  motionrt_retargeter* retargeter = nullptr;
  CHECK(motionrt_retargeter_create("g1", "smpl22", &retargeter) == MOTIONRT_OK);
  std::vector<double> angles(static_cast<std::size_t>(motionrt_robot_joints(retargeter)));
  std::vector<float> joints(66);
  const motionrt_pose pose = {0, joints.data(), nullptr, 22};
  motionrt_robot_pose base;
  int tracked = 0;
  CHECK(allocations_of([&] {
          for (int k = 0; k < kSteps; ++k) {
            for (int v = 0; v < 66; ++v) joints[v] = std::sin(static_cast<float>(v) + 0.1f * static_cast<float>(k));
            tracked += motionrt_retarget(retargeter, 0.02 * k, &pose, angles.data(), &base) == MOTIONRT_OK;
          }
        }) == 0);
  CHECK(tracked == kSteps && base.tracking == MOTIONRT_TRACKED);
  motionrt_retargeter_free(retargeter);
}

int main() {
  count_allocations();
  allocations_are_counted();
  for (const int people : {1, 8, kPeople}) steps_allocate_nothing(Run(), people);
  steps_allocate_nothing(Run(), kPeople, true);
  steps_allocate_nothing(Run(MODELS "/live-2d", "coco17"), kPeople);
  const auto folder = std::filesystem::temp_directory_path() / "motionrt_allocations";
  std::filesystem::remove_all(folder);
  TinyCompiled().write(folder, "tiny", "tiny");
  steps_allocate_nothing(Run(folder.string()), kPeople);
  TinyCompiled texts;
  texts.has_examples = false;
  texts.write(folder, "tiny", "tiny");
  Run learned(folder.string());
  for (int i = 0; i < kPeople; ++i) learned.step(kPeople);
  CHECK(motionrt_enroll(learned.recognizer.get(), "mine", 0) == MOTIONRT_OK);
  steps_allocate_nothing(std::move(learned), kPeople);
  comings_and_goings_allocate_nothing();
  tracking_allocates_nothing();
  retargeting_allocates_nothing();
  steps_with_other_labels_allocate_nothing();
  return result();
}
