// C++17 wrapper of motionrt.h: handles are freed automatically, and errors are exceptions.
//
//   motionrt::Recognizer recognizer("models/live");
//   const auto kinect = recognizer.layout("kinect20");
//   const motionrt_decision now = recognizer.step(t, joints, kinect);
//   std::puts(recognizer.label(now.label));
#ifndef MOTIONRT_HPP
#define MOTIONRT_HPP

#include <motionrt/motionrt.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace motionrt {
inline namespace api {  // keeps the linker's names apart from the engine's

class Error : public std::runtime_error {
 public:
  explicit Error(motionrt_status s) : std::runtime_error(motionrt_error()), status(s) {}
  const motionrt_status status;
};

inline void check(motionrt_status status) {
  if (status != MOTIONRT_OK) throw Error(status);
}

// Adds a skeleton layout to the built-in ones, from the text of a layout file.
inline void register_layout(const std::string& name, const std::string& json) {
  check(motionrt_register_layout(name.c_str(), json.c_str()));
}

// Functions throw Error if the function of the same name in motionrt.h fails, and then change nothing.
class Recognizer {
 public:
  // Loads the folder of a recognizer's bundle.
  explicit Recognizer(const std::string& folder, motionrt_precision precision = MOTIONRT_FP32) {
    motionrt_recognizer* recognizer = nullptr;
    check(motionrt_load(folder.c_str(), precision, &recognizer));
    handle_.reset(recognizer);
  }

  // Loads a bundle from memory, with the one that runs its 2-D layouts.
  explicit Recognizer(const motionrt_bundle& bundle, const motionrt_bundle* flat = nullptr,
                      motionrt_precision precision = MOTIONRT_FP32) {
    motionrt_recognizer* recognizer = nullptr;
    check(motionrt_load_memory(&bundle, flat, precision, &recognizer));
    handle_.reset(recognizer);
  }

  // Limits the answers to some of the model's labels and "none"; none given: all labels.
  void choose_labels(const std::vector<std::string>& labels) {
    std::vector<const char*> texts;
    for (const std::string& label : labels) texts.push_back(label.c_str());
    check(motionrt_choose_labels(handle_.get(), texts.data(), static_cast<std::int32_t>(texts.size())));
  }
  // Gestures: labels learned from the last seconds of a person, and their files.
  void enroll(const std::string& label, std::int64_t person = 0) {
    check(motionrt_enroll(handle_.get(), label.c_str(), person));
  }
  void set_gestures(const std::string& file) { check(motionrt_set_gestures(handle_.get(), file.data(), file.size())); }
  std::string save_gestures() const {
    std::size_t size = 0;
    check(motionrt_save_gestures(handle_.get(), nullptr, &size));
    std::string file(size, '\0');
    check(motionrt_save_gestures(handle_.get(), &file[0], &size));
    return file;
  }
  void limit_alarms(double alarms_per_minute) { check(motionrt_limit_alarms(handle_.get(), alarms_per_minute)); }

  std::int32_t labels() const { return motionrt_labels(handle_.get()); }
  // Null for an invalid index.
  const char* label(std::int32_t index) const { return motionrt_label(handle_.get(), index); }
  const char* license() const { return motionrt_license(handle_.get()); }

  // Number of the model's own layout, of a built-in one, or of a custom one with weights [model joints, joint_count]
  // (flat: in 2-D); and the joints of a layout and their coordinates.
  std::int32_t layout() { return layout_of(nullptr); }
  std::int32_t layout(const std::string& name) { return layout_of(name.c_str()); }
  std::int32_t add_layout(const std::vector<float>& weights, std::int32_t joint_count, bool is_flat = false) {
    const auto size = static_cast<std::int32_t>(weights.size());
    std::int32_t number = -1;
    const auto add = is_flat ? motionrt_add_flat_layout : motionrt_add_layout;
    check(add(handle_.get(), weights.data(), joint_count > 0 ? size / joint_count : 0, joint_count, &number));
    return number;
  }
  std::int32_t joints(std::int32_t layout) const { return motionrt_joints(handle_.get(), layout); }
  std::int32_t dims(std::int32_t layout) const { return motionrt_dims(handle_.get(), layout); }

  // Takes one person's joints, x y z (x y in a 2-D layout) each, at time t in seconds.
  motionrt_decision step(double t, const std::vector<float>& joints, std::int32_t layout, std::int64_t person = 0) {
    const auto coordinates = static_cast<std::int32_t>(joints.size());
    return step(t, {{person, joints.data(), nullptr, coordinates / (dims(layout) == 2 ? 2 : 3)}}, layout)[0];
  }
  // Takes the poses of several people.
  std::vector<motionrt_decision> step(double t, const std::vector<motionrt_pose>& poses, std::int32_t layout) {
    std::vector<motionrt_decision> decisions(poses.size());
    check(motionrt_step(handle_.get(), t, poses.data(), static_cast<std::int32_t>(poses.size()), layout,
                        decisions.data()));
    return decisions;
  }

  // Null as long as the times are plausible.
  const char* warning() { return motionrt_warning(handle_.get()); }

  std::vector<motionrt_decision> evict(double t) {
    std::vector<motionrt_decision> decisions(MOTIONRT_MAX_PEOPLE);
    std::int32_t count = 0;
    check(motionrt_evict(handle_.get(), t, decisions.data(), &count));
    decisions.resize(static_cast<std::size_t>(count));
    return decisions;
  }
  std::vector<float> scores(std::int64_t person) {
    std::vector<float> scores(static_cast<std::size_t>(labels()));
    check(motionrt_scores(handle_.get(), person, scores.data()));
    return scores;
  }
  void reset(std::int64_t person) { check(motionrt_reset(handle_.get(), person)); }
  void reset() { check(motionrt_reset_all(handle_.get())); }

 private:
  struct Free {
    void operator()(motionrt_recognizer* recognizer) const { motionrt_free(recognizer); }
  };
  std::int32_t layout_of(const char* name) {
    std::int32_t number = -1;
    check(motionrt_layout(handle_.get(), name, &number));
    return number;
  }

  std::unique_ptr<motionrt_recognizer, Free> handle_;
};

// Assigns poses to people: ids that persist from frame to frame.
class Tracker {
 public:
  explicit Tracker(const std::string& layout) {
    motionrt_tracker* tracker = nullptr;
    check(motionrt_tracker_create(layout.c_str(), &tracker));
    handle_.reset(tracker);
  }
  // A custom layout: the parent of each joint, -1 for a root, and 2 or 3 dimensions.
  Tracker(const std::vector<std::int32_t>& parents, std::int32_t dims) {
    motionrt_tracker* tracker = nullptr;
    check(motionrt_tracker_create_custom(parents.data(), static_cast<std::int32_t>(parents.size()), dims, &tracker));
    handle_.reset(tracker);
  }

  // Sets the person of each pose, and removes poses without a person.
  void track(double t, std::vector<motionrt_pose>& poses) {
    check(motionrt_track(handle_.get(), t, poses.data(), static_cast<std::int32_t>(poses.size())));
    const auto has_no_person = [](const motionrt_pose& pose) { return pose.person < 0; };
    poses.erase(std::remove_if(poses.begin(), poses.end(), has_no_person), poses.end());
  }
  void reset() { check(motionrt_tracker_reset(handle_.get())); }

 private:
  struct Free {
    void operator()(motionrt_tracker* tracker) const { motionrt_tracker_free(tracker); }
  };
  std::unique_ptr<motionrt_tracker, Free> handle_;
};

// Maps a person's joints to a robot's joint angles.
class Retargeter {
 public:
  // A built-in robot or the path of a robot file, and the layout of the poses.
  explicit Retargeter(const std::string& robot, const std::string& layout = "smpl22") {
    motionrt_retargeter* retargeter = nullptr;
    check(motionrt_retargeter_create(robot.c_str(), layout.c_str(), &retargeter));
    handle_.reset(retargeter);
  }
  std::int32_t joints() const { return motionrt_robot_joints(handle_.get()); }
  // Null for an invalid index.
  const char* joint(std::int32_t index) const { return motionrt_robot_joint(handle_.get(), index); }

  // Takes a person's joints, x y z each, at time t in seconds; writes the robot's angles.
  motionrt_robot_pose step(double t, const std::vector<float>& person, std::vector<double>& angles) {
    angles.resize(static_cast<std::size_t>(joints()));
    const motionrt_pose pose = {0, person.data(), nullptr, static_cast<std::int32_t>(person.size() / 3)};
    motionrt_robot_pose base{};
    check(motionrt_retarget(handle_.get(), t, &pose, angles.data(), &base));
    return base;
  }
  void reset() { check(motionrt_retargeter_reset(handle_.get())); }

 private:
  struct Free {
    void operator()(motionrt_retargeter* retargeter) const { motionrt_retargeter_free(retargeter); }
  };
  std::unique_ptr<motionrt_retargeter, Free> handle_;
};

}  // namespace api
}  // namespace motionrt
#endif
