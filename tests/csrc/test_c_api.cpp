#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "motionrt/motionrt.h"
#include "tiny_bundle.hpp"

namespace fs = std::filesystem;

// The call fails with this status and a one-line message that contains `part`.
#define CHECK_STATUS(call, status, part)                                                                         \
  do {                                                                                                           \
    const motionrt_status status_ = (call);                                                                      \
    const std::string error_ = motionrt_error();                                                                 \
    report(status_ == (status), __FILE__, __LINE__, #call " gives " + std::to_string(status_) + ": " + error_);  \
    report(error_.find(part) != std::string::npos && error_.find('\n') == std::string::npos, __FILE__, __LINE__, \
           #call ": " + error_);                                                                                 \
  } while (false)
#define CHECK_INVALID(call, part) CHECK_STATUS(call, MOTIONRT_INVALID_ARGUMENT, part)
#define CHECK_OK(call) report((call) == MOTIONRT_OK, __FILE__, __LINE__, std::string(#call ": ") + motionrt_error())

struct Free {
  void operator()(motionrt_recognizer* r) const { motionrt_free(r); }
};
struct FreeTracker {
  void operator()(motionrt_tracker* t) const { motionrt_tracker_free(t); }
};
using Recognizer = std::unique_ptr<motionrt_recognizer, Free>;

Recognizer load(motionrt_precision precision = MOTIONRT_FP32) {
  motionrt_recognizer* r = nullptr;
  CHECK_OK(motionrt_load(MODELS "/live", precision, &r));
  return Recognizer(r);
}

std::int32_t layout_of(const Recognizer& r, const char* name) {
  std::int32_t layout = -1;
  CHECK_OK(motionrt_layout(r.get(), name, &layout));
  return layout;
}

constexpr int kJoints = 15;  // of the model's layout
constexpr int kLabels = 58;  // of the model; the last is none
constexpr double kFrame_s = 0.05;

// A moving person, different for each number.
std::vector<float> joints_at(int frame, std::int64_t person, int joints = kJoints) {
  std::vector<float> pose(3 * joints);
  for (int i = 0; i < 3 * joints; ++i)
    pose[i] =
        0.6f * std::sin(static_cast<float>(i)) + 0.2f * std::sin(0.3f * static_cast<float>(frame * (person + 1) + i));
  return pose;
}

struct Step {
  motionrt_status status;
  motionrt_decision decision;
};

Step step(const Recognizer& r, double t, const std::vector<float>& joints, std::int64_t person = 0) {
  const motionrt_pose pose = {person, joints.data(), nullptr, static_cast<int>(joints.size()) / 3};
  Step result{};
  result.status = motionrt_step(r.get(), t, &pose, 1, 0, &result.decision);
  return result;
}

void a_recognizer_has_labels_and_a_license() {
  const Recognizer r = load();
  CHECK(std::string(motionrt_version()).find('.') != std::string::npos);
  const std::int32_t labels = motionrt_labels(r.get());
  CHECK(labels == kLabels && std::string(motionrt_label(r.get(), labels - 1)) == "none");
  CHECK(!motionrt_label(r.get(), -1) && !motionrt_label(r.get(), labels));
  CHECK(std::string(motionrt_license(r.get())).find("CC BY-NC 4.0") != std::string::npos);
}

void a_null_pointer_is_named() {
  const Recognizer r = load();
  motionrt_recognizer* loaded = nullptr;
  std::int32_t number = 0;
  motionrt_decision decisions[MOTIONRT_MAX_PEOPLE];
  motionrt_pose pose = {0, nullptr, nullptr, kJoints};
  float values[100] = {};
  const char* recognizer = "recognizer is null";
  CHECK_INVALID(motionrt_load(nullptr, MOTIONRT_FP32, &loaded), "folder is null");
  CHECK_INVALID(motionrt_load(MODELS "/live", MOTIONRT_FP32, nullptr), recognizer);
  motionrt_free(nullptr);
  CHECK(motionrt_labels(nullptr) == 0 && !motionrt_label(nullptr, 0) && !motionrt_license(nullptr));
  CHECK(motionrt_joints(nullptr, 0) == -1);
  CHECK_INVALID(motionrt_layout(nullptr, "core15", &number), recognizer);
  CHECK_INVALID(motionrt_layout(r.get(), "core15", nullptr), "layout is null");
  CHECK_INVALID(motionrt_add_layout(nullptr, values, kJoints, 1, &number), recognizer);
  CHECK_INVALID(motionrt_add_layout(r.get(), nullptr, kJoints, 1, &number), "weights is null");
  CHECK_INVALID(motionrt_add_layout(r.get(), values, kJoints, 1, nullptr), "layout is null");
  layout_of(r, nullptr);
  CHECK_INVALID(motionrt_step(nullptr, 0, &pose, 1, 0, decisions), recognizer);
  CHECK_INVALID(motionrt_step(r.get(), 0, nullptr, 1, 0, decisions), "poses is null");
  CHECK_INVALID(motionrt_step(r.get(), 0, &pose, 1, 0, nullptr), "decisions is null");
  CHECK_INVALID(motionrt_step(r.get(), 0, &pose, 1, 0, decisions), "joints of person 0 is null");
  CHECK_OK(motionrt_step(r.get(), 0, nullptr, 0, 0, nullptr));
  CHECK_INVALID(motionrt_evict(nullptr, 0, decisions, &number), recognizer);
  CHECK_INVALID(motionrt_evict(r.get(), 0, nullptr, &number), "decisions is null");
  CHECK_INVALID(motionrt_evict(r.get(), 0, decisions, nullptr), "count is null");
  CHECK_INVALID(motionrt_scores(nullptr, 0, values), recognizer);
  CHECK_INVALID(motionrt_scores(r.get(), 0, nullptr), "scores is null");
  CHECK_INVALID(motionrt_reset(nullptr, 0), recognizer);
  CHECK_INVALID(motionrt_reset_all(nullptr), recognizer);
}

void layouts_have_numbers() {
  const Recognizer r = load();
  const std::int32_t own = layout_of(r, nullptr), kinect = layout_of(r, "kinect20");
  CHECK(own == 0 && kinect == 1 && layout_of(r, "core15") == own && layout_of(r, "kinect20") == kinect);
  CHECK(motionrt_joints(r.get(), own) == kJoints && motionrt_joints(r.get(), kinect) == 20);
  CHECK(motionrt_joints(r.get(), -1) == -1 && motionrt_joints(r.get(), 2) == -1);
  std::int32_t untouched = 7;
  CHECK_INVALID(motionrt_layout(r.get(), "kinect21", &untouched), "kinect21");
  CHECK_INVALID(motionrt_layout(r.get(), "", &untouched), "mediapipe33");  // a known one
  CHECK(untouched == 7 && motionrt_joints(r.get(), 2) == -1);
}

void a_custom_layout_can_be_added() {
  const Recognizer r = load(), plain = load();
  layout_of(plain, nullptr);
  std::vector<float> weights(kJoints * (kJoints + 1), 0.f);  // sensor joint 0 is something else
  for (int v = 0; v < kJoints; ++v) weights[v * (kJoints + 1) + v + 1] = 1;
  std::int32_t layout = -1;
  CHECK_INVALID(motionrt_add_layout(r.get(), weights.data(), 14, 16, &layout), "weights has 14 rows, expected 15");
  CHECK_INVALID(motionrt_add_layout(r.get(), weights.data(), kJoints, 0, &layout), "weights has 0 columns");
  CHECK_INVALID(motionrt_add_layout(r.get(), weights.data(), kJoints, 257, &layout), "expected 1 to 256");
  weights[2] = -1;
  CHECK_INVALID(motionrt_add_layout(r.get(), weights.data(), kJoints, 16, &layout), "weights[0, 2] is -1");
  weights[2] = 0;
  CHECK(layout == -1);
  CHECK_OK(motionrt_add_layout(r.get(), weights.data(), kJoints, 16, &layout));
  CHECK(layout == 0 && motionrt_joints(r.get(), layout) == 16);
  for (int frame = 0; frame < 20; ++frame) {
    auto joints = joints_at(frame, 0);
    const float score = step(plain, frame * kFrame_s, joints).decision.score;
    joints.insert(joints.begin(), 3, 99.f);
    const Step now = step(r, frame * kFrame_s, joints);
    CHECK(now.status == MOTIONRT_OK && now.decision.score == score);
  }
}

void a_sensor_may_have_no_legs() {
  const Recognizer r = load();
  constexpr int kUpper = 9;                                         // the model's first joints
  constexpr int kMeta[kUpper] = {1, 6, 7, 10, 11, 19, 15, 16, 45};  // the same in meta70
  std::vector<float> weights(kJoints * kUpper, 0.f);
  for (int v = 0; v < kUpper; ++v) weights[v * kUpper + v] = 1;
  std::int32_t custom = -1;
  CHECK_OK(motionrt_add_layout(r.get(), weights.data(), kJoints, kUpper, &custom));
  const std::int32_t meta = layout_of(r, "meta70");
  weights[0] = 0;
  CHECK_INVALID(motionrt_add_layout(r.get(), weights.data(), kJoints, kUpper, &custom), "weights row 0 is all zero");
  for (int frame = 0; frame < 40; ++frame) {
    const auto joints = joints_at(frame, 0, 70);
    std::vector<float> upper;
    for (const int joint : kMeta) upper.insert(upper.end(), &joints[3 * joint], &joints[3 * joint] + 3);
    const motionrt_pose poses[] = {{0, joints.data(), nullptr, 70}, {1, upper.data(), nullptr, kUpper}};
    motionrt_decision decisions[2];
    CHECK_OK(motionrt_step(r.get(), frame * kFrame_s, &poses[0], 1, meta, &decisions[0]));
    CHECK_OK(motionrt_step(r.get(), frame * kFrame_s, &poses[1], 1, custom, &decisions[1]));
    CHECK(decisions[0].tracking == MOTIONRT_TRACKED && decisions[0].label == decisions[1].label);
    CHECK(decisions[0].score == decisions[1].score);
  }
}

void an_invalid_step_changes_nothing() {
  const Recognizer r = load();
  layout_of(r, nullptr);
  CHECK(step(r, 0, joints_at(0, 0)).status == MOTIONRT_OK);
  const auto joints = joints_at(1, 0);
  motionrt_pose poses[17];
  for (int i = 0; i < 17; ++i) poses[i] = {i, joints.data(), nullptr, kJoints};
  motionrt_decision decisions[17];
  std::memset(decisions, 0x55, sizeof decisions);
  const auto all = [&](std::int32_t count, double t = 0.1, std::int32_t layout = 0) {
    return motionrt_step(r.get(), t, poses, count, layout, decisions);
  };
  CHECK_INVALID(all(-1), "-1 poses, expected 0 to 16");
  CHECK_INVALID(all(17), "17 poses, expected 0 to 16");
  CHECK_INVALID(all(1, 0.1, -1), "layout -1 is unknown, 1 were added");
  CHECK_INVALID(all(1, 0.1, 1), "layout 1 is unknown");
  CHECK_INVALID(all(1, std::nan("")), "t of person 0 is nan");
  CHECK_INVALID(all(1, std::numeric_limits<double>::infinity()), "t of person 0 is inf");
  CHECK_INVALID(all(1, 1.7e12), "expected seconds");
  poses[1].joint_count = kJoints - 1;
  CHECK_INVALID(all(2), "person 1 has 14 joints, layout 0 has 15");
  poses[1] = poses[0];
  CHECK_INVALID(all(2), "person 0 occurs twice");
  poses[1] = poses[16];
  CHECK(reinterpret_cast<const unsigned char*>(decisions)[0] == 0x55);
  float scores[100];
  CHECK_INVALID(motionrt_scores(r.get(), 16, scores), "person 16 is unknown, 1 were pushed");
  CHECK_INVALID(motionrt_evict(r.get(), std::nan(""), decisions, &poses[0].joint_count), "t is nan");

  const Recognizer fresh = load();  // without the failed calls
  layout_of(fresh, nullptr);
  CHECK(step(fresh, 0, joints_at(0, 0)).status == MOTIONRT_OK);
  CHECK(step(fresh, 0.1, joints).decision.score == step(r, 0.1, joints).decision.score);
}

void the_seventeenth_person_is_one_too_many() {
  const Recognizer r = load();
  layout_of(r, nullptr);
  for (int person = 0; person < 16; ++person) CHECK(step(r, 0, joints_at(0, person), person).status == MOTIONRT_OK);
  CHECK_INVALID(step(r, 0.1, joints_at(1, 16), 16).status, "person 16 is one too many, expected at most 16");
  CHECK_OK(motionrt_reset(r.get(), 3));
  CHECK_OK(step(r, 0.1, joints_at(1, 16), 16).status);
  CHECK_INVALID(step(r, 0.1, joints_at(1, 3), 3).status, "person 3 is one too many");
  CHECK_OK(motionrt_reset_all(r.get()));
  CHECK_OK(step(r, 0.1, joints_at(1, 3), 3).status);
}

void people_come_and_go() {
  const Recognizer r = load();
  layout_of(r, nullptr);
  motionrt_decision gone[MOTIONRT_MAX_PEOPLE];
  std::int32_t count = -1;
  for (int frame = 0; frame < 20; ++frame) {
    const Step a = step(r, frame * kFrame_s, joints_at(frame, 0), 7);
    CHECK(a.decision.person == 7 && a.decision.tracking == MOTIONRT_TRACKED && a.decision.label >= 0);
    if (frame < 5) step(r, frame * kFrame_s, joints_at(frame, 1), -2);
    CHECK_OK(motionrt_evict(r.get(), frame * kFrame_s, gone, &count));
    CHECK(count == (frame == 15 ? 1 : 0));
    if (count == 1) CHECK(gone[0].person == -2 && gone[0].tracking == MOTIONRT_LOST && gone[0].label == kLabels - 1);
  }
  CHECK(step(r, 0.5, joints_at(0, 0), 7).decision.tracking == MOTIONRT_DROPPED);
  const std::vector<float> nobody(3 * kJoints, std::numeric_limits<float>::quiet_NaN());
  CHECK(step(r, 0.5, nobody, 8).decision.tracking == MOTIONRT_MISSING);
  CHECK(step(r, 1.3, nobody, 7).decision.tracking == MOTIONRT_TRACKED);
  CHECK(step(r, 1.5, nobody, 7).decision.tracking == MOTIONRT_LOST);
  const float unseen[kJoints] = {}, seen[kJoints] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const auto joints = joints_at(0, 0);
  motionrt_pose poses[] = {{20, joints.data(), unseen, kJoints}, {21, joints.data(), seen, kJoints}};
  CHECK_OK(motionrt_step(r.get(), 2, poses, 2, 0, gone));
  CHECK(gone[0].tracking == MOTIONRT_MISSING && gone[1].tracking == MOTIONRT_TRACKED);
}

void scores_are_probabilities() {
  for (const auto precision : {MOTIONRT_FP32, MOTIONRT_BF16}) {
    const Recognizer r = load(precision);
    layout_of(r, nullptr);
    Step now{};
    for (int frame = 0; frame < 20; ++frame) now = step(r, frame * kFrame_s, joints_at(frame, 0));
    std::vector<float> scores(motionrt_labels(r.get()));
    CHECK_OK(motionrt_scores(r.get(), 0, scores.data()));
    float total = 0;
    for (const float score : scores) {
      CHECK(score >= 0 && score <= now.decision.score);
      total += score;
    }
    CHECK_NEAR(total, 1, 1e-5);
    CHECK(scores[now.decision.label] == now.decision.score);
  }
}

void labels_are_chosen_by_name() {
  const Recognizer all = load(), r = load();
  layout_of(all, nullptr), layout_of(r, nullptr);
  const char* const chosen[] = {"raise left hand", "none", "bow"};
  std::vector<const char*> every;
  for (int i = 0; i < motionrt_labels(all.get()); ++i) every.push_back(motionrt_label(all.get(), i));
  const auto index = [&](const std::string& label) {
    return std::find(every.begin(), every.end(), label) - every.begin();
  };
  CHECK_OK(motionrt_choose_labels(r.get(), chosen, 3));
  CHECK(motionrt_labels(r.get()) == 3 && std::string(motionrt_label(r.get(), 0)) == "raise left hand");
  CHECK(std::string(motionrt_label(r.get(), 1)) == "bow" && std::string(motionrt_label(r.get(), 2)) == "none");
  CHECK(!motionrt_label(r.get(), 3) && !motionrt_label(r.get(), -1));
  std::vector<float> scores(every.size()), few(4, -1.f);
  for (int frame = 0; frame < 40; ++frame) {
    CHECK(step(all, frame * kFrame_s, joints_at(frame, 0)).status == MOTIONRT_OK);
    const Step now = step(r, frame * kFrame_s, joints_at(frame, 0));
    CHECK(now.decision.label >= 0 && now.decision.label < 3);
    CHECK_OK(motionrt_scores(all.get(), 0, scores.data()));
    CHECK_OK(motionrt_scores(r.get(), 0, few.data()));
    CHECK_NEAR(few[0], scores[index("raise left hand")], 1e-6);
    CHECK_NEAR(few[1], scores[index("bow")], 1e-6);
    CHECK_NEAR(few[0] + few[1] + few[2], 1, 1e-6);
    CHECK(few[3] == -1);
  }
  const char* const wrong[] = {"raise left hand", "left hand", nullptr};
  CHECK_INVALID(motionrt_choose_labels(r.get(), wrong, 2),
                "label 'left hand' is not one of model 'live', the nearest are 'raise left hand'");
  CHECK_INVALID(motionrt_choose_labels(r.get(), wrong + 2, 1), "label 0 is null");
  CHECK_INVALID(motionrt_choose_labels(r.get(), nullptr, 1), "labels is null");
  CHECK_INVALID(motionrt_choose_labels(r.get(), chosen, -1), "-1 labels");
  CHECK_INVALID(motionrt_choose_labels(r.get(), chosen + 1, 1), "no labels, expected some of model 'live'");
  CHECK_INVALID(motionrt_choose_labels(nullptr, chosen, 1), "recognizer is null");
  CHECK(motionrt_labels(r.get()) == 3);
  CHECK_OK(motionrt_choose_labels(r.get(), nullptr, 0));
  CHECK(motionrt_labels(r.get()) == static_cast<int>(every.size()));
}

void gestures_are_enrolled_saved_and_set() {
  const fs::path folder = fs::temp_directory_path() / ("motionrt_gestures_" + std::to_string(std::random_device()()));
  TinyCompiled tiny;
  tiny.has_examples = false;
  tiny.write(folder, R"("none": -0.25)", R"("none": 1000)");  // texts are never likely
  const auto open = [&] {
    motionrt_recognizer* handle = nullptr;
    CHECK_OK(motionrt_load(folder.string().c_str(), MOTIONRT_FP32, &handle));
    return Recognizer(handle);
  };
  const auto play = [&](const Recognizer& r, std::int64_t person, int from = 0) {
    layout_of(r, nullptr);
    for (int frame = from; frame < from + 12; ++frame)
      CHECK_OK(step(r, kFrame_s * frame, joints_at(frame, person), person).status);
    std::vector<float> scores(motionrt_labels(r.get()));
    CHECK_OK(motionrt_scores(r.get(), person, scores.data()));
    return scores;
  };
  const auto save = [](const Recognizer& r) {
    std::size_t size = 0;
    CHECK_OK(motionrt_save_gestures(r.get(), nullptr, &size));
    std::string file(size, '\0');
    CHECK_OK(motionrt_save_gestures(r.get(), file.data(), &size));
    return file;
  };
  const Recognizer r = open();
  const char* const first = motionrt_label(r.get(), 0);
  CHECK_INVALID(motionrt_enroll(r.get(), "mine", 7), "person 7 is unknown");
  play(r, 7);
  play(r, 8);
  CHECK_OK(motionrt_enroll(r.get(), "mine", 7));
  CHECK(motionrt_labels(r.get()) == 13 && std::string(motionrt_label(r.get(), 11)) == "mine");
  CHECK(std::string(motionrt_label(r.get(), 12)) == "none" && motionrt_label(r.get(), 0) == first);
  CHECK(std::string(first) == "wave 1");
  CHECK_OK(motionrt_enroll(r.get(), "a \"quoted\" one", 8));
  CHECK_OK(motionrt_enroll(r.get(), "wave 2", 8));  // has a text, too
  CHECK(motionrt_labels(r.get()) == 14);
  const std::vector<float> scores = play(r, 7, 12);
  CHECK(std::max_element(scores.begin(), scores.end()) - scores.begin() == 11);

  const std::string file = save(r);
  const Recognizer other = open();
  play(other, 7);
  CHECK_OK(motionrt_set_gestures(other.get(), file.data(), file.size()));
  CHECK(save(other).size() == file.size() && motionrt_labels(other.get()) == 14);
  const std::vector<float> again = play(other, 7, 12);
  CHECK(std::string(motionrt_label(other.get(), 12)) == "mine");  // labels come in the order of their texts
  report(std::abs(again[12] - scores[11]) < 1e-4f, __FILE__, __LINE__,
         std::to_string(again[12]) + " is not " + std::to_string(scores[11]));

  for (std::size_t size = 0; size < file.size(); size += 7)
    if (size > 0) CHECK(motionrt_set_gestures(r.get(), file.data(), size) == MOTIONRT_INVALID_ARGUMENT);
  const std::string foreign = replaced(file, std::string(64, 'a'), std::string(64, 'b'));
  CHECK_INVALID(motionrt_set_gestures(r.get(), foreign.data(), foreign.size()), "the encoder of another model");
  std::size_t room = 10;
  char small[10];
  CHECK_INVALID(motionrt_save_gestures(r.get(), small, &room), "10 bytes, the gestures have");
  CHECK_INVALID(motionrt_enroll(r.get(), "", 7), "expected a text");
  CHECK_INVALID(motionrt_enroll(r.get(), "\xff", 7), "expected a text");
  CHECK_INVALID(motionrt_enroll(r.get(), nullptr, 7), "label is null");
  CHECK_OK(motionrt_reset(r.get(), 7));
  CHECK_OK(step(r, 100, joints_at(0, 7), 7).status);
  CHECK_INVALID(motionrt_enroll(r.get(), "mine", 7), "not seen for long enough");
  CHECK(motionrt_labels(r.get()) == 14);
  CHECK_OK(motionrt_set_gestures(r.get(), nullptr, 0));
  CHECK(motionrt_labels(r.get()) == 12 && motionrt_label(r.get(), 0) == first);
  fs::remove_all(folder);

  TinyCompiled().write(folder, "", "");
  CHECK_INVALID(motionrt_enroll(open().get(), "mine", 7), "compile it again");
  fs::remove_all(folder);
  CHECK_INVALID(motionrt_enroll(load().get(), "mine", 7), "the labels of model 'live' are fixed");
}

void compiled_labels_give_events() {
  const fs::path folder = fs::temp_directory_path() / ("motionrt_compiled_" + std::to_string(std::random_device()()));
  TinyCompiled().write(folder, R"("none": -0.25)", R"("none": -1000)");  // a text is always more likely than none
  for (const motionrt_precision precision : {MOTIONRT_FP32, MOTIONRT_BF16}) {
    motionrt_recognizer* handle = nullptr;
    CHECK_OK(motionrt_load(folder.string().c_str(), precision, &handle));
    const Recognizer r(handle);
    CHECK(layout_of(r, "core15") == 0);
    CHECK(motionrt_labels(handle) == 12 && std::string(motionrt_label(handle, 0)) == "wave 1");
    const char* const chosen[] = {"wave 2"};  // the other labels do not count as none
    CHECK_OK(motionrt_choose_labels(handle, chosen, 1));
    int onsets = 0;
    for (int frame = 0; frame < 60; ++frame) {
      const motionrt_decision now = step(r, kFrame_s * frame, joints_at(frame, 0)).decision;
      if (frame < 4) CHECK(std::string(motionrt_label(handle, now.label)) == "none");
      if (now.event != MOTIONRT_NO_EVENT) CHECK(++onsets == 1 && now.event == MOTIONRT_ONSET && now.event_label == 0);
    }
    CHECK(onsets == 1);
    float scores[2];
    CHECK_OK(motionrt_scores(handle, 0, scores));
    CHECK(scores[0] > 0.99f);
    motionrt_decision last[MOTIONRT_MAX_PEOPLE];
    std::int32_t count = 0;
    CHECK_OK(motionrt_evict(handle, 10, last, &count));
    CHECK(count == 1 && last[0].event == MOTIONRT_OFFSET && last[0].event_label == 0);
  }
  fs::remove_all(folder);
}

// A copy of the bundled model, to be damaged.
class Copy {
 public:
  Copy() : folder_(fs::temp_directory_path() / ("motionrt_c_api_" + std::to_string(std::random_device()()))) {
    fs::create_directory(folder_);
    for (const char* file : {"manifest.json", "weights.safetensors"})
      fs::copy(fs::path(MODELS "/live") / file, folder_);
  }
  ~Copy() { fs::remove_all(folder_); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  fs::path file(const char* name) const { return folder_ / name; }
  std::string read(const char* name) const {
    std::ifstream stream(file(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  void write(const char* name, const std::string& content) const {
    std::ofstream(file(name), std::ios::binary) << content;
  }
  // Replaces the first `from`, which must exist, by `to`.
  void replace(const std::string& from, const std::string& to) const {
    std::string manifest = read("manifest.json");
    const std::size_t at = manifest.find(from);
    CHECK(at != std::string::npos);
    write("manifest.json", manifest.replace(at, from.size(), to));
  }
  Recognizer open() const {
    motionrt_recognizer* r = nullptr;
    CHECK_OK(motionrt_load(folder_.string().c_str(), MOTIONRT_FP32, &r));
    return Recognizer(r);
  }
  motionrt_status load() const {
    motionrt_recognizer* r = nullptr;
    const motionrt_status status = motionrt_load(folder_.string().c_str(), MOTIONRT_FP32, &r);
    CHECK((status == MOTIONRT_OK) == (r != nullptr));
    motionrt_free(r);
    return status;
  }

 private:
  const fs::path folder_;
};

void false_alarms_are_limited() {
  std::string strict, loose;
  for (int i = 0; i < kLabels; ++i) strict += i ? ", 1" : "1", loose += i ? ", 0" : "0";
  const Copy copy;
  std::string manifest = copy.read("manifest.json");
  const std::size_t at = manifest.find("\"alarms\": {"), size = manifest.find('}', at) + 1 - at;
  manifest.replace(at, size,
                   "\"alarms\": {\"per_minute\": [0.5, 2], \"on\": [[" + strict + "], [" + loose + "]], \"off\": [[" +
                       loose + "], [" + loose + "]]}");
  copy.write("manifest.json", manifest);
  const auto onsets = [](const Recognizer& r) {
    layout_of(r, nullptr);
    int count = 0;
    for (int frame = 0; frame < 100; ++frame)
      count += step(r, frame * kFrame_s, joints_at(frame, 0)).decision.event == MOTIONRT_ONSET;
    return count;
  };
  const Recognizer few = copy.open(), many = copy.open();
  CHECK_OK(motionrt_limit_alarms(few.get(), 0.5));
  CHECK_OK(motionrt_limit_alarms(many.get(), 2));
  CHECK(onsets(few) == 0 && onsets(many) > 0);
  CHECK_INVALID(motionrt_limit_alarms(few.get(), 3),
                "alarms_per_minute is 3, model 'live' has thresholds for 0.5 to 2");
  CHECK_INVALID(motionrt_limit_alarms(nullptr, 1), "recognizer is null");
}

void a_folder_without_a_bundle_is_rejected() {
  motionrt_recognizer* r = nullptr;
  CHECK_STATUS(motionrt_load("no such folder", MOTIONRT_FP32, &r), MOTIONRT_BAD_BUNDLE,
               "no such folder: not the folder");
  CHECK_STATUS(motionrt_load("", MOTIONRT_FP32, &r), MOTIONRT_BAD_BUNDLE, "not the folder of a bundle");
  CHECK_STATUS(motionrt_load(MODELS "/live/manifest.json", MOTIONRT_FP32, &r), MOTIONRT_BAD_BUNDLE, "not the folder");
  CHECK_STATUS(motionrt_load(MODELS, MOTIONRT_FP32, &r), MOTIONRT_BAD_BUNDLE, "manifest.json: file is missing");
  const std::string long_name(5000, 'x');  // the message is truncated
  CHECK_STATUS(motionrt_load(long_name.c_str(), MOTIONRT_FP32, &r), MOTIONRT_BAD_BUNDLE, "xxx");
  CHECK(std::strlen(motionrt_error()) < 1000);
  CHECK_INVALID(motionrt_load(MODELS "/live", 7, &r), "precision is 7");
  CHECK(!r);
}

void a_damaged_bundle_is_rejected() {
  CHECK_OK(Copy().load());
  const auto check = [](const char* part, auto damage) {
    const Copy copy;
    damage(copy);
    CHECK_STATUS(copy.load(), MOTIONRT_BAD_BUNDLE, part);
  };
  check("manifest.json: file is missing", [](const Copy& c) { fs::remove(c.file("manifest.json")); });
  check("weights.safetensors: file is missing", [](const Copy& c) { fs::remove(c.file("weights.safetensors")); });
  check("weights.safetensors: not a regular file", [](const Copy& c) {
    fs::remove(c.file("weights.safetensors"));
    fs::create_directory(c.file("weights.safetensors"));
  });
  check("manifest.json", [](const Copy& c) { c.write("manifest.json", ""); });
  check("manifest.json", [](const Copy& c) { c.write("manifest.json", "[1, 2]"); });
  check("manifest.json", [](const Copy& c) { c.write("manifest.json", c.read("manifest.json").substr(0, 1000)); });
  check("layout 'nowhere5'", [](const Copy& c) { c.replace("\"core15\"", "\"nowhere5\""); });
  check("takes 15 joints, layout kinect20 has 20", [](const Copy& c) { c.replace("\"core15\"", "\"kinect20\""); });
  check("task", [](const Copy& c) { c.replace("\"recognition\"", "\"generation\""); });
  check("does not match the sha256", [](const Copy& c) {
    std::string weights = c.read("weights.safetensors");
    weights[weights.size() / 2] ^= 1;
    c.write("weights.safetensors", weights);
  });
  check("weights.safetensors: 1000 bytes, expected",
        [](const Copy& c) { c.write("weights.safetensors", c.read("weights.safetensors").substr(0, 1000)); });
}

// The two files of a bundle, in memory.
struct Files {
  explicit Files(const std::string& folder)
      : manifest(content(folder + "/manifest.json")), weights(content(folder + "/weights.safetensors")) {}
  motionrt_bundle bundle() const { return {manifest.data(), manifest.size(), weights.data(), weights.size()}; }
  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string manifest, weights;
};

void a_recognizer_from_memory_is_the_same() {
  motionrt_recognizer* handle = nullptr;
  {
    const Files files(MODELS "/live"), flat(MODELS "/live-2d");
    const motionrt_bundle bundle = files.bundle(), flat_bundle = flat.bundle();
    CHECK_OK(motionrt_load_memory(&bundle, &flat_bundle, MOTIONRT_FP32, &handle));
  }
  const Recognizer from_memory(handle), from_folder = load();
  for (const char* name : {"core15", "coco17"}) {
    const std::int32_t layout = layout_of(from_memory, name), joints = motionrt_joints(from_memory.get(), layout);
    CHECK(layout == layout_of(from_folder, name));
    for (int frame = 0; frame < 30; ++frame) {
      const auto coordinates = joints_at(frame, 0, joints);
      const motionrt_pose pose = {layout, coordinates.data(), nullptr, joints};
      motionrt_decision a, b;
      CHECK_OK(motionrt_step(from_memory.get(), frame * kFrame_s, &pose, 1, layout, &a));
      CHECK_OK(motionrt_step(from_folder.get(), frame * kFrame_s, &pose, 1, layout, &b));
      CHECK(a.label == b.label && a.score == b.score);
    }
  }
}

void a_damaged_bundle_in_memory_is_rejected() {
  const Files files(MODELS "/live");
  motionrt_recognizer* r = nullptr;
  const auto load = [&](const motionrt_bundle& bundle, const motionrt_bundle* flat = nullptr) {
    return motionrt_load_memory(&bundle, flat, MOTIONRT_FP32, &r);
  };
  motionrt_bundle bundle = files.bundle();
  CHECK_OK(load(bundle));  // alone
  CHECK_INVALID(motionrt_layout(r, "coco17", nullptr), "layout is null");
  std::int32_t layout;
  CHECK_INVALID(motionrt_layout(r, "coco17", &layout), "or model live-2d beside live");
  motionrt_free(r);
  CHECK_STATUS(load(bundle, &bundle), MOTIONRT_BAD_BUNDLE, "flat: does not treat 2-D poses as live treats 3-D ones");
  CHECK(!r);
  const fs::path folder = fs::temp_directory_path() / ("motionrt_memory_" + std::to_string(std::random_device()()));
  TinyCompiled().write(folder, "", "");
  const Files compiled(folder.string());
  fs::remove_all(folder);
  bundle = compiled.bundle();
  CHECK_STATUS(load(bundle, &bundle), MOTIONRT_BAD_BUNDLE, "cannot be combined");
  bundle = files.bundle();
  Files damaged = files;
  damaged.weights[damaged.weights.size() / 2] ^= 1;
  CHECK_STATUS(load(damaged.bundle()), MOTIONRT_BAD_BUNDLE,
               "bundle/weights.safetensors: content does not match the sha256 in the manifest");
  const motionrt_bundle flat = damaged.bundle();
  CHECK_STATUS(load(bundle, &flat), MOTIONRT_BAD_BUNDLE, "flat/weights.safetensors: content does not match");
  --bundle.weights_size;
  CHECK_STATUS(load(bundle), MOTIONRT_BAD_BUNDLE, "bundle/weights.safetensors: 1593195 bytes, expected 1593196");
  bundle.manifest_size = 0;
  CHECK_STATUS(load(bundle), MOTIONRT_BAD_BUNDLE, "bundle/manifest.json");
  bundle.weights = nullptr;
  CHECK_INVALID(load(bundle), "bundle->weights is null, expected a pointer");
  bundle.manifest = nullptr;
  CHECK_INVALID(load(bundle), "bundle->manifest is null, expected a pointer");
  CHECK_INVALID(motionrt_load_memory(nullptr, nullptr, MOTIONRT_FP32, &r), "bundle is null");
  bundle = files.bundle();
  CHECK_INVALID(motionrt_load_memory(&bundle, nullptr, 7, &r), "precision is 7");
  CHECK_INVALID(motionrt_load_memory(&bundle, nullptr, MOTIONRT_FP32, nullptr), "recognizer is null");
}

void a_layout_is_registered_for_everything_that_takes_its_name() {
  std::string json = Files::content(MODELS "/../skeletons/kinect20.json");
  CHECK_OK(motionrt_register_layout("sensor", json.c_str()));
  const Recognizer r = load(), plain = load();
  const std::int32_t layout = layout_of(r, "sensor"), kinect = layout_of(plain, "kinect20");
  CHECK(motionrt_joints(r.get(), layout) == 20 && layout_of(r, "sensor") == layout);
  for (int frame = 0; frame < 30; ++frame) {
    const auto joints = joints_at(frame, 0, 20);
    const motionrt_pose pose = {0, joints.data(), nullptr, 20};
    motionrt_decision a, b;
    CHECK_OK(motionrt_step(r.get(), frame * kFrame_s, &pose, 1, layout, &a));
    CHECK_OK(motionrt_step(plain.get(), frame * kFrame_s, &pose, 1, kinect, &b));
    CHECK(a.label == b.label && a.score == b.score);
  }
  motionrt_tracker* tracker = nullptr;
  CHECK_OK(motionrt_tracker_create("sensor", &tracker));
  motionrt_tracker_free(tracker);
  CHECK_INVALID(motionrt_register_layout("sensor", "{"), "sensor: ");
  CHECK_INVALID(motionrt_register_layout(nullptr, "{}"), "name is null");
  CHECK_INVALID(motionrt_register_layout("other", nullptr), "json is null");
}

// Decisions of everybody, one step each a frame.
std::vector<float> scores_of(const Recognizer& r, std::int64_t person) {
  std::vector<float> scores;
  for (int frame = 0; frame < 40; ++frame)
    scores.push_back(step(r, frame * kFrame_s, joints_at(frame, person), person).decision.score);
  return scores;
}

void threads_get_the_results_of_one_thread() {
  const Recognizer r = load();
  layout_of(r, nullptr);
  const std::vector<float> wanted[] = {scores_of(r, 0), scores_of(r, 1)};
  const Recognizer shared = load(), other = load();
  layout_of(shared, nullptr);
  layout_of(other, nullptr);
  const Recognizer* const handles[][2] = {{&shared, &shared}, {&r, &other}};
  CHECK_OK(motionrt_reset_all(r.get()));
  for (const auto& handle : handles) {
    std::vector<float> got[2];
    std::string message;
    CHECK_INVALID(motionrt_step(nullptr, 0, nullptr, 0, 0, nullptr), "recognizer is null");
    std::thread thread([&] {
      message = motionrt_error();
      got[1] = scores_of(*handle[1], 1);
    });
    got[0] = scores_of(*handle[0], 0);
    thread.join();
    CHECK(got[0] == wanted[0] && got[1] == wanted[1]);
    CHECK(message.empty());  // the error belongs to the other thread
  }
}

void a_tracker_assigns_people() {
  motionrt_tracker* made = nullptr;
  CHECK_OK(motionrt_tracker_create("core15", &made));
  const std::unique_ptr<motionrt_tracker, FreeTracker> tracker(made);
  const auto at = [](float x) {
    auto joints = joints_at(0, 0);
    for (int v = 0; v < kJoints; ++v) joints[3 * v] += x;
    return joints;
  };
  const auto left = at(-5), right = at(5);
  std::vector<float> nobody(3 * kJoints, std::numeric_limits<float>::quiet_NaN());
  const float unseen[kJoints] = {};
  motionrt_pose poses[] = {{9, left.data(), nullptr, kJoints}, {9, right.data(), nullptr, kJoints}};
  CHECK_OK(motionrt_track(tracker.get(), 0, poses, 2));
  CHECK(poses[0].person == 0 && poses[1].person == 1);
  motionrt_pose later[] = {{9, right.data(), nullptr, kJoints},
                           {9, nobody.data(), nullptr, kJoints},
                           {9, left.data(), unseen, kJoints},
                           {9, left.data(), nullptr, kJoints}};
  CHECK_OK(motionrt_track(tracker.get(), 0.1, later, 4));
  CHECK(later[0].person == 1 && later[1].person == -1 && later[2].person == -1 && later[3].person == 0);
  CHECK_OK(motionrt_tracker_reset(tracker.get()));
  CHECK_OK(motionrt_track(tracker.get(), 0.2, later, 1));
  CHECK(later[0].person == 0);
  CHECK_OK(motionrt_track(tracker.get(), 0.3, nullptr, 0));

  std::vector<std::vector<float>> crowd;
  std::vector<motionrt_pose> many;
  for (int i = 0; i < MOTIONRT_MAX_POSES + 1; ++i) crowd.push_back(at(20.f * static_cast<float>(i)));
  for (const auto& joints : crowd) many.push_back({0, joints.data(), nullptr, kJoints});
  CHECK_OK(motionrt_track(tracker.get(), 9, many.data(), MOTIONRT_MAX_POSES));
  for (int i = 0; i < MOTIONRT_MAX_POSES; ++i) CHECK(many[i].person == (i < MOTIONRT_MAX_PEOPLE ? i : -1));
  CHECK_INVALID(motionrt_track(tracker.get(), 9, many.data(), 65), "65 poses, expected 0 to 64");
  CHECK_INVALID(motionrt_track(tracker.get(), 9, many.data(), -1), "-1 poses, expected 0 to 64");
}

void invalid_arguments_of_a_tracker_are_named() {
  motionrt_tracker* tracker = nullptr;
  const std::int32_t parents[] = {-1, 0}, wrong[] = {-1, 2};
  CHECK_INVALID(motionrt_tracker_create("nowhere5", &tracker), "unknown skeleton layout 'nowhere5'");
  CHECK_INVALID(motionrt_tracker_create(nullptr, &tracker), "layout is null");
  CHECK_INVALID(motionrt_tracker_create("core15", nullptr), "tracker is null");
  CHECK_INVALID(motionrt_tracker_create_custom(nullptr, 2, 3, &tracker), "parents is null");
  CHECK_INVALID(motionrt_tracker_create_custom(parents, 2, 3, nullptr), "tracker is null");
  CHECK_INVALID(motionrt_tracker_create_custom(parents, 0, 3, &tracker), "0 joints, expected 1 to 256");
  CHECK_INVALID(motionrt_tracker_create_custom(parents, 257, 3, &tracker), "257 joints, expected 1 to 256");
  CHECK_INVALID(motionrt_tracker_create_custom(parents, 2, 4, &tracker), "4 dimensions, expected 2 or 3");
  CHECK_INVALID(motionrt_tracker_create_custom(wrong, 2, 3, &tracker), "parents[1] is 2");
  CHECK(!tracker);
  CHECK_OK(motionrt_tracker_create_custom(parents, 2, 2, &tracker));
  const std::unique_ptr<motionrt_tracker, FreeTracker> freed(tracker);
  const float pixels[] = {100, 100, 150, 300};
  motionrt_pose pose = {7, pixels, nullptr, 2};
  CHECK_OK(motionrt_track(tracker, 0, &pose, 1));
  CHECK(pose.person == 0);
  pose.person = 7;
  CHECK_INVALID(motionrt_track(tracker, std::nan(""), &pose, 1), "t is nan, expected seconds");
  CHECK_INVALID(motionrt_track(tracker, 1, nullptr, 1), "poses is null");
  CHECK_INVALID(motionrt_track(nullptr, 1, &pose, 1), "tracker is null");
  CHECK_INVALID(motionrt_tracker_reset(nullptr), "tracker is null");
  pose.joint_count = 3;
  CHECK_INVALID(motionrt_track(tracker, 1, &pose, 1), "pose 0 has 3 joints, expected 2");
  pose = {7, nullptr, nullptr, 2};
  CHECK_INVALID(motionrt_track(tracker, 1, &pose, 1), "joints of pose 0 is null");
  CHECK(pose.person == 7);
  motionrt_tracker_free(nullptr);
}

void implausible_times_give_a_warning() {
  const auto warning = [](double period_s, double start_s = 1.7e9, int frames = 60, int people = 2) {
    const Recognizer r = load();
    layout_of(r, nullptr);
    for (int frame = 0; frame < frames; ++frame)
      for (int person = 0; person < people; ++person)
        CHECK_OK(step(r, start_s + period_s * frame, joints_at(frame, person), person).status);
    const char* text = motionrt_warning(r.get());
    return std::string(text ? text : "");
  };
  for (const double hz : {5.0, 30.0, 250.0}) CHECK(warning(1 / hz).empty());
  CHECK(warning(33.3) ==
        "118 of 120 poses are more than 0.5 s after the one before, expected seconds, not milliseconds "
        "or frame numbers");
  CHECK(warning(0) == "118 of 120 poses are not later than the one before, expected increasing seconds");
  CHECK(warning(1 / 30e3, 0) == "there are 3e+04 frames per second, expected 5 to 250");
  CHECK(warning(33.3, 0, 14).empty());  // too few to tell
  CHECK(!motionrt_warning(nullptr));
}

int main() {
  compiled_labels_give_events();
  gestures_are_enrolled_saved_and_set();
  a_tracker_assigns_people();
  invalid_arguments_of_a_tracker_are_named();
  a_recognizer_has_labels_and_a_license();
  a_null_pointer_is_named();
  layouts_have_numbers();
  a_custom_layout_can_be_added();
  a_sensor_may_have_no_legs();
  an_invalid_step_changes_nothing();
  the_seventeenth_person_is_one_too_many();
  people_come_and_go();
  scores_are_probabilities();
  labels_are_chosen_by_name();
  false_alarms_are_limited();
  a_folder_without_a_bundle_is_rejected();
  a_damaged_bundle_is_rejected();
  a_recognizer_from_memory_is_the_same();
  a_damaged_bundle_in_memory_is_rejected();
  a_layout_is_registered_for_everything_that_takes_its_name();
  threads_get_the_results_of_one_thread();
  implausible_times_give_a_warning();
  return result();
}
