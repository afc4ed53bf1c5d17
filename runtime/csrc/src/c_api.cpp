#include "motionrt/motionrt.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <utility>

#include "engine.hpp"
#include "labels.hpp"
#include "layouts.hpp"
#include "matched_streams.hpp"
#include "retargeter.hpp"
#include "tracker.hpp"

using namespace motionrt;

namespace {

// Settings of everything around the networks, from the bundles and their layout.
Config session_config(const Bundle& bundle, const std::optional<Bundle>& flat, const Layout& layout) {
  Config config = bundle.session;
  if (static_cast<int>(layout.joints.size()) != config.joints)
    throw BundleError(bundle.name + ": the network takes " + std::to_string(config.joints) + " joints, layout " +
                      layout.name + " has " + std::to_string(layout.joints.size()));
  config.root = layout.root;
  config.left = layout.left;
  config.right = layout.right;
  config.parents = layout.parents;
  config.max_people = MOTIONRT_MAX_PEOPLE;
  if (flat) {
    config.flat = true;
    const Config& theirs = flat->session;
    const std::size_t count = theirs.labels;
    config.flat_by_label = theirs.by_label.on.empty() ? Thresholds{std::vector<double>(count, theirs.on),
                                                                   std::vector<double>(count, theirs.off)}
                                                      : theirs.by_label;
  }
  return config;
}

const Layout& layout_of(const Bundle& bundle) {
  try {
    return find_layout(bundle.layout);
  } catch (const std::invalid_argument& error) {
    throw BundleError(bundle.name + ": " + error.what());
  }
}

std::unique_ptr<Network> network_of(const Bundle& bundle, Precision precision) {
  return Model(bundle, precision).streams(MOTIONRT_MAX_PEOPLE);
}

// The rate of the steps, from the last time the clock was set back.
struct StepRate {
  void add(double t) {
    if (steps == 0 || t < last_s - kSetBack_s) {
      first_s = t;
      steps = 0;
    } else if (t <= last_s) {
      return;  // another person of the same frame
    }
    last_s = t;
    ++steps;
  }
  double hz() const { return steps > kMinPoses ? static_cast<double>(steps - 1) / (last_s - first_s) : 0; }

  static constexpr double kSetBack_s = 0.5;
  static constexpr std::int64_t kMinPoses = 30;
  std::int64_t steps = 0;
  double first_s = 0, last_s = 0;
};

}  // namespace

struct motionrt_recognizer {
  motionrt_recognizer(const Bundle& bundle, const std::optional<Bundle>& flat, Precision precision)
      : name(bundle.name),
        flat_model(bundle.flat_model),
        model_labels(bundle.labels),
        all_labels(bundle.labels),
        texts(bundle.labels.begin(), bundle.labels.end()),
        none(bundle.session.none),
        license(bundle.license),
        alarms(bundle.alarms),
        flat_alarms(flat ? flat->alarms : Alarms{}),
        layout(layout_of(bundle)),
        network(network_of(bundle, precision)),
        engine(session_config(bundle, flat, layout), network, nullptr, flat ? network_of(*flat, precision) : nullptr) {}

  // The label at an index among the chosen ones; null if the index is invalid.
  const std::string* label(std::int32_t index) const {
    const Config& config = engine.session().config();
    if (index < 0 || index >= config.labels) return nullptr;
    return &*texts.find(all_labels[config.chosen.empty() ? index : config.chosen[index]]);
  }

  // The network, if it can learn gestures.
  MatchedStreams& matched() {
    auto* streams = dynamic_cast<MatchedStreams*>(network.get());
    require(streams != nullptr, "the labels of model ", single_quoted(name), " are fixed, expected compiled ones");
    const MatchingConfig& config = streams->matcher().config();
    require(!config.encoder.empty() && (config.examples.empty() || !gestures.empty()), "model ", single_quoted(name),
            config.encoder.empty() ? " was compiled by an earlier version" : " was compiled with examples",
            ", expected texts only: compile it again");
    return *streams;
  }

  // Changes the labels to the model's own and those of gestures.
  void use(Gestures changed) {
    MatchedStreams& streams = matched();
    std::vector<std::string> labels = model_labels;
    const auto find = [&](const Gesture& gesture) { return std::find(labels.begin(), labels.end(), gesture.label); };
    for (const Gesture& gesture : changed)
      if (find(gesture) == labels.end()) labels.insert(labels.end() - 1, gesture.label);
    std::vector<int> examples;
    for (const Gesture& gesture : changed) examples.push_back(static_cast<int>(find(gesture) - labels.begin()));
    const auto count = static_cast<int>(labels.size());
    auto matcher = streams.matcher().with_examples(count, std::move(examples), changed);
    texts.insert(labels.begin(), labels.end());
    streams.prepare(std::move(matcher));
    engine.relabel(count, count - 1);
    all_labels = std::move(labels);
    none = count - 1;
    gestures = std::move(changed);
  }

  mutable std::mutex mutex;
  const std::string name, flat_model;
  const std::vector<std::string> model_labels;
  std::vector<std::string> all_labels;  // of the network, with gestures
  std::set<std::string> texts;          // all labels so far: callers hold pointers to them
  int none;
  const std::string license;
  const Alarms alarms, flat_alarms;
  const Layout& layout;              // of the model
  std::vector<std::string> layouts;  // names by number; "" for layouts added by the caller
  const std::shared_ptr<Network> network;
  Engine engine;
  Gestures gestures;
  StepRate rate;
  std::array<Observation, MOTIONRT_MAX_PEOPLE> observations;
  std::array<Outcome, MOTIONRT_MAX_PEOPLE> outcomes;
};

struct motionrt_tracker {
  motionrt_tracker(std::vector<int> parents, int dimensions)
      : joints(static_cast<int>(parents.size())),
        dims(dimensions),
        tracker({kForgetS, MOTIONRT_MAX_PEOPLE, std::move(parents)}) {}

  static constexpr double kForgetS = 0.5;
  std::mutex mutex;
  const int joints, dims;
  Tracker tracker;
  std::array<TrackedPose, MOTIONRT_MAX_POSES> poses;
  std::array<int, MOTIONRT_MAX_POSES> ids;
};
struct motionrt_retargeter {
  motionrt_retargeter(Robot robot, const std::vector<float>& weights)
      : retargeter(std::move(robot), weights.data(), static_cast<int>(weights.size()) / kBodyJoints) {}

  static constexpr int kBodyJoints = 22;
  std::mutex mutex;
  Retargeter retargeter;
};
static_assert(MOTIONRT_MAX_POSES <= Tracker::kReservedPoses, "motionrt_track allocates nothing");

namespace {

constexpr std::size_t kMaxLayouts = 1000;
constexpr double kMostly = 0.4, kMaxRate_hz = 1.1 * 250;  // as in Python's time_check
thread_local std::array<char, 512> message;
thread_local std::array<char, 200> warning;

motionrt_status failed(motionrt_status status, const char* text) {
  std::strncpy(message.data(), text, message.size() - 1);
  return status;
}

// Runs `action` under the mutex and converts exceptions into a status.
template <class Action>
motionrt_status guarded(std::mutex* mutex, Action action) noexcept {
  try {
    std::unique_lock<std::mutex> lock;
    if (mutex) lock = std::unique_lock<std::mutex>(*mutex);
    action();
    return MOTIONRT_OK;
  } catch (const BundleError& error) {
    return failed(MOTIONRT_BAD_BUNDLE, error.what());
  } catch (const std::invalid_argument& error) {
    return failed(MOTIONRT_INVALID_ARGUMENT, error.what());
  } catch (const std::bad_alloc&) {
    return failed(MOTIONRT_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(MOTIONRT_INTERNAL, error.what());
  } catch (...) {
    return failed(MOTIONRT_INTERNAL, "unknown error");
  }
}

Robot robot_of(const std::string& name) {
  constexpr std::size_t kSuffix = 5;
  if (name.size() < kSuffix || name.compare(name.size() - kSuffix, kSuffix, ".json") != 0) return find_robot(name);
  std::ifstream file(name, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  require(file && !text.empty(), excerpt(name), ": cannot be read, or is empty");
  return parse_robot(text, name);
}

template <class Action>
motionrt_status guarded(motionrt_recognizer* recognizer, Action action) noexcept {
  if (!recognizer) return failed(MOTIONRT_INVALID_ARGUMENT, "recognizer is null, expected the handle of motionrt_load");
  return guarded(&recognizer->mutex, action);
}

template <class Action>
motionrt_status guarded(motionrt_tracker* tracker, Action action) noexcept {
  if (!tracker)
    return failed(MOTIONRT_INVALID_ARGUMENT, "tracker is null, expected the handle of motionrt_tracker_create");
  return guarded(&tracker->mutex, action);
}

template <class Action>
motionrt_status guarded(motionrt_retargeter* retargeter, Action action) noexcept {
  if (!retargeter)
    return failed(MOTIONRT_INVALID_ARGUMENT, "retargeter is null, expected the handle of motionrt_retargeter_create");
  return guarded(&retargeter->mutex, action);
}

void require_pointer(const void* pointer, const char* name) {
  require(pointer != nullptr, name, " is null, expected a pointer");
}

int add_layout(motionrt_recognizer& r, const float* weights, int joints, bool is_flat, const std::string& name) {
  require(r.layouts.size() < kMaxLayouts, "there are already ", kMaxLayouts, " layouts");
  r.layouts.push_back(name);
  try {
    return r.engine.add_layout(weights, joints, is_flat);
  } catch (...) {
    r.layouts.pop_back();
    throw;
  }
}

motionrt_decision decision_of(const Outcome& outcome, double t) {
  const Decision& d = outcome.decision;
  return {outcome.person,
          static_cast<motionrt_tracking>(outcome.status),
          d.label,
          d.score,
          static_cast<motionrt_event>(d.event),
          d.event_label,
          d.event == Event::onset ? t - d.event_age_s : 0};
}
static_assert(static_cast<int>(Status::lost) == MOTIONRT_LOST && static_cast<int>(Event::offset) == MOTIONRT_OFFSET,
              "the enumerations of motionrt.h must match the engine's");

// Makes a recognizer of the bundles that `read` returns: that for 3-D poses, and that for 2-D poses, if there is one.
template <class Read>
motionrt_status load(int32_t precision, motionrt_recognizer** recognizer, Read read) noexcept {
  return guarded(static_cast<std::mutex*>(nullptr), [&] {
    require_pointer(recognizer, "recognizer");
    *recognizer = nullptr;
    require(precision == MOTIONRT_FP32 || precision == MOTIONRT_BF16, "precision is ", precision,
            ", expected MOTIONRT_FP32 or MOTIONRT_BF16");
    const auto [bundle, flat] = read();
    *recognizer = new motionrt_recognizer(bundle, flat, precision == MOTIONRT_BF16 ? Precision::bf16 : Precision::fp32);
  });
}

Bundle parse(const motionrt_bundle& files, const std::string& name) {
  require(files.manifest, name, "->manifest is null, expected a pointer");
  require(files.weights, name, "->weights is null, expected a pointer");
  return parse_checked_bundle({static_cast<const char*>(files.manifest), files.manifest_size},
                              {static_cast<const char*>(files.weights), files.weights_size}, name);
}

}  // namespace

const char* motionrt_version(void) { return MOTIONRT_VERSION; }

const char* motionrt_error(void) { return message.data(); }

motionrt_status motionrt_load(const char* folder, int32_t precision, motionrt_recognizer** recognizer) {
  return load(precision, recognizer, [&] {
    require_pointer(folder, "folder");
    Bundle bundle = read_bundle(folder);
    auto flat = read_flat_bundle(bundle, folder);
    return std::pair(std::move(bundle), std::move(flat));
  });
}

motionrt_status motionrt_load_memory(const motionrt_bundle* bundle, const motionrt_bundle* flat, int32_t precision,
                                     motionrt_recognizer** recognizer) {
  return load(precision, recognizer, [&] {
    require_pointer(bundle, "bundle");
    std::pair<Bundle, std::optional<Bundle>> parsed(parse(*bundle, "bundle"), std::nullopt);
    if (flat) check_flat_bundle(parsed.first, parsed.second.emplace(parse(*flat, "flat")), "flat");
    return parsed;
  });
}

motionrt_status motionrt_register_layout(const char* name, const char* json) {
  return guarded(static_cast<std::mutex*>(nullptr), [&] {
    require_pointer(name, "name");
    require_pointer(json, "json");
    register_layout(name, json);
  });
}

void motionrt_free(motionrt_recognizer* recognizer) { delete recognizer; }

motionrt_status motionrt_choose_labels(motionrt_recognizer* recognizer, const char* const* labels, int32_t count) {
  return guarded(recognizer, [&] {
    motionrt_recognizer& r = *recognizer;
    require(count >= 0, count, " labels, expected 0 or more");
    if (count == 0) return r.engine.choose({});
    require_pointer(labels, "labels");
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) {
      require(labels[i], "label ", i, " is null, expected a pointer");
      texts.emplace_back(labels[i]);
    }
    r.engine.choose(choose_labels(r.name, r.all_labels, r.none, texts));
  });
}

motionrt_status motionrt_limit_alarms(motionrt_recognizer* recognizer, double alarms_per_minute) {
  return guarded(recognizer, [&] {
    motionrt_recognizer& r = *recognizer;
    const bool has_flat = !r.flat_alarms.per_minute.empty();
    r.engine.session().set_thresholds(
        thresholds_at(r.alarms, alarms_per_minute, r.name),
        has_flat ? thresholds_at(r.flat_alarms, alarms_per_minute, r.name) : Thresholds{});
  });
}

motionrt_status motionrt_enroll(motionrt_recognizer* recognizer, const char* label, int64_t person) {
  return guarded(recognizer, [&] {
    require_pointer(label, "label");
    motionrt_recognizer& r = *recognizer;
    const std::vector<float> feature = r.matched().feature(r.engine.session().find(person));
    require(!feature.empty(), "person ", person, " was not seen for long enough, expected the whole gesture");
    Gestures changed = r.gestures;
    add_example(changed, label, feature);
    r.use(std::move(changed));
  });
}

motionrt_status motionrt_set_gestures(motionrt_recognizer* recognizer, const void* file, size_t size) {
  return guarded(recognizer, [&] {
    motionrt_recognizer& r = *recognizer;
    if (size > 0) require_pointer(file, "file");
    MatchedStreams& streams = r.matched();
    r.use(size == 0 ? Gestures()
                    : read_gestures({static_cast<const char*>(file), size}, streams.features(),
                                    streams.matcher().config().encoder));
  });
}

motionrt_status motionrt_save_gestures(motionrt_recognizer* recognizer, void* file, size_t* size) {
  return guarded(recognizer, [&] {
    require_pointer(size, "size");
    motionrt_recognizer& r = *recognizer;
    const MatchedStreams& streams = r.matched();
    const std::string text = write_gestures(r.gestures, streams.features(), streams.matcher().config().encoder);
    require(!file || *size >= text.size(), *size, " bytes, the gestures have ", text.size());
    if (file) std::copy(text.begin(), text.end(), static_cast<char*>(file));
    *size = text.size();
  });
}

int32_t motionrt_labels(const motionrt_recognizer* recognizer) {
  if (!recognizer) return 0;
  const std::lock_guard<std::mutex> lock(recognizer->mutex);
  return recognizer->engine.session().config().labels;
}

const char* motionrt_label(const motionrt_recognizer* recognizer, int32_t index) {
  if (!recognizer) return nullptr;
  const std::lock_guard<std::mutex> lock(recognizer->mutex);
  const std::string* label = recognizer->label(index);
  return label ? label->c_str() : nullptr;
}

const char* motionrt_license(const motionrt_recognizer* recognizer) {
  return recognizer ? recognizer->license.c_str() : nullptr;
}

motionrt_status motionrt_layout(motionrt_recognizer* recognizer, const char* name, int32_t* layout) {
  return guarded(recognizer, [&] {
    require_pointer(layout, "layout");
    motionrt_recognizer& r = *recognizer;
    const Layout& source = name ? find_layout(name) : r.layout;
    require(source.dims == 3 || r.engine.session().config().flat, "layout ", source.name, " is ", source.dims,
            "-D, expected a 3-D one in meters",
            r.flat_model.empty() ? "" : ", or model " + r.flat_model + " beside " + r.name);
    const auto known = std::find(r.layouts.begin(), r.layouts.end(), source.name);
    *layout = known != r.layouts.end()
                  ? static_cast<int32_t>(known - r.layouts.begin())
                  : add_layout(r, map_weights(r.layout, source, false).data(), static_cast<int>(source.joints.size()),
                               source.dims == 2, source.name);
  });
}

namespace {

motionrt_status add_custom_layout(motionrt_recognizer* recognizer, const float* weights, int32_t model_joints,
                                  int32_t joint_count, bool is_flat, int32_t* layout) {
  return guarded(recognizer, [&] {
    require_pointer(weights, "weights");
    require_pointer(layout, "layout");
    const int joints = recognizer->engine.session().config().joints;
    require(model_joints == joints, "weights has ", model_joints, " rows, expected ", joints);
    *layout = add_layout(*recognizer, weights, joint_count, is_flat, "");
  });
}

}  // namespace

motionrt_status motionrt_add_layout(motionrt_recognizer* recognizer, const float* weights, int32_t model_joints,
                                    int32_t joint_count, int32_t* layout) {
  return add_custom_layout(recognizer, weights, model_joints, joint_count, false, layout);
}

motionrt_status motionrt_add_flat_layout(motionrt_recognizer* recognizer, const float* weights, int32_t model_joints,
                                         int32_t joint_count, int32_t* layout) {
  return add_custom_layout(recognizer, weights, model_joints, joint_count, true, layout);
}

int32_t motionrt_joints(const motionrt_recognizer* recognizer, int32_t layout) {
  if (!recognizer) return -1;
  const std::lock_guard<std::mutex> lock(recognizer->mutex);
  if (layout < 0 || layout >= static_cast<int32_t>(recognizer->layouts.size())) return -1;
  return recognizer->engine.session().layout_at(layout).source_joints();
}

int32_t motionrt_dims(const motionrt_recognizer* recognizer, int32_t layout) {
  if (motionrt_joints(recognizer, layout) < 0) return -1;
  const std::lock_guard<std::mutex> lock(recognizer->mutex);
  return recognizer->engine.session().layout_at(layout).dims();
}

motionrt_status motionrt_step(motionrt_recognizer* recognizer, double t, const motionrt_pose* poses, int32_t count,
                              int32_t layout, motionrt_decision* decisions) {
  return guarded(recognizer, [&] {
    motionrt_recognizer& r = *recognizer;
    require(count >= 0 && count <= MOTIONRT_MAX_PEOPLE, count, " poses, expected 0 to ",
            static_cast<int>(MOTIONRT_MAX_PEOPLE));
    if (count > 0) {
      require_pointer(poses, "poses");
      require_pointer(decisions, "decisions");
    }
    const int joints = r.engine.session().layout_at(layout).source_joints();
    for (int i = 0; i < count; ++i) {
      require(poses[i].joints, "joints of person ", poses[i].person, " is null, expected a pointer");
      require(poses[i].joint_count == joints, "person ", poses[i].person, " has ", poses[i].joint_count,
              " joints, layout ", layout, " has ", joints);
      r.observations[i] = {poses[i].person, poses[i].joints, poses[i].confidence};
    }
    r.engine.step(t, count, r.observations.data(), layout, r.outcomes.data());
    if (count > 0) r.rate.add(t);
    for (int i = 0; i < count; ++i) decisions[i] = decision_of(r.outcomes[i], t);
  });
}

const char* motionrt_warning(motionrt_recognizer* recognizer) {
  if (!recognizer) return nullptr;
  const std::lock_guard<std::mutex> lock(recognizer->mutex);
  const Session& session = recognizer->engine.session();
  const Counters& counted = session.counters();
  const double most = kMostly * static_cast<double>(counted.frames);
  const auto frames = static_cast<long long>(counted.frames);
  if (frames < StepRate::kMinPoses) return nullptr;
  if (static_cast<double>(counted.dropped) > most)
    std::snprintf(warning.data(), warning.size(),
                  "%lld of %lld poses are not later than the one before, expected increasing seconds",
                  static_cast<long long>(counted.dropped), frames);
  else if (static_cast<double>(counted.resets) > most)
    std::snprintf(warning.data(), warning.size(),
                  "%lld of %lld poses are more than %g s after the one before, expected seconds, not milliseconds or "
                  "frame numbers",
                  static_cast<long long>(counted.resets), frames, session.config().max_gap_s);
  else if (recognizer->rate.hz() > kMaxRate_hz)
    std::snprintf(warning.data(), warning.size(), "there are %.4g frames per second, expected 5 to 250",
                  recognizer->rate.hz());
  else
    return nullptr;
  return warning.data();
}

motionrt_status motionrt_evict(motionrt_recognizer* recognizer, double t, motionrt_decision* decisions,
                               int32_t* count) {
  return guarded(recognizer, [&] {
    require_pointer(decisions, "decisions");
    require_pointer(count, "count");
    motionrt_recognizer& r = *recognizer;
    *count = r.engine.evict(t, r.outcomes.data());
    for (int i = 0; i < *count; ++i) decisions[i] = decision_of(r.outcomes[i], t);
  });
}

motionrt_status motionrt_scores(motionrt_recognizer* recognizer, int64_t person, float* scores) {
  return guarded(recognizer, [&] {
    require_pointer(scores, "scores");
    const float* now = recognizer->engine.scores(person);
    std::copy(now, now + recognizer->engine.session().config().labels, scores);
  });
}

motionrt_status motionrt_reset(motionrt_recognizer* recognizer, int64_t person) {
  return guarded(recognizer, [&] { recognizer->engine.session().reset(person); });
}

motionrt_status motionrt_reset_all(motionrt_recognizer* recognizer) {
  return guarded(recognizer, [&] { recognizer->engine.session().reset(); });
}

motionrt_status motionrt_tracker_create(const char* layout, motionrt_tracker** tracker) {
  return guarded(static_cast<std::mutex*>(nullptr), [&] {
    require_pointer(layout, "layout");
    require_pointer(tracker, "tracker");
    const Layout& source = find_layout(layout);
    *tracker = new motionrt_tracker(source.parents, source.dims);
  });
}

motionrt_status motionrt_tracker_create_custom(const int32_t* parents, int32_t joint_count, int32_t dims,
                                               motionrt_tracker** tracker) {
  return guarded(static_cast<std::mutex*>(nullptr), [&] {
    require_pointer(parents, "parents");
    require_pointer(tracker, "tracker");
    require(joint_count >= 1 && joint_count <= kMaxJoints, joint_count, " joints, expected 1 to ", kMaxJoints);
    require(dims == 2 || dims == 3, dims, " dimensions, expected 2 or 3");
    *tracker = new motionrt_tracker({parents, parents + joint_count}, dims);
  });
}

void motionrt_tracker_free(motionrt_tracker* tracker) { delete tracker; }

motionrt_status motionrt_track(motionrt_tracker* tracker, double t, motionrt_pose* poses, int32_t count) {
  return guarded(tracker, [&] {
    require(count >= 0 && count <= MOTIONRT_MAX_POSES, count, " poses, expected 0 to ",
            static_cast<int>(MOTIONRT_MAX_POSES));
    if (count > 0) require_pointer(poses, "poses");
    for (int i = 0; i < count; ++i) {
      require(poses[i].joints, "joints of pose ", i, " is null, expected a pointer");
      require(poses[i].joint_count == tracker->joints, "pose ", i, " has ", poses[i].joint_count, " joints, expected ",
              tracker->joints);
      tracker->poses[i] = {poses[i].joints, tracker->joints, poses[i].confidence,
                           poses[i].confidence ? tracker->joints : 0};
    }
    tracker->tracker.assign(t, count, tracker->poses.data(), tracker->dims, tracker->ids.data());
    for (int i = 0; i < count; ++i) poses[i].person = tracker->ids[i];
  });
}

motionrt_status motionrt_tracker_reset(motionrt_tracker* tracker) {
  return guarded(tracker, [&] { tracker->tracker.reset(); });
}

motionrt_status motionrt_retargeter_create(const char* robot, const char* layout, motionrt_retargeter** retargeter) {
  return guarded(static_cast<std::mutex*>(nullptr), [&] {
    require_pointer(robot, "robot");
    require_pointer(layout, "layout");
    require_pointer(retargeter, "retargeter");
    const Layout& source = find_layout(layout);
    require(source.dims == 3, "layout ", source.name, " is 2-D, expected a 3-D one");
    *retargeter = new motionrt_retargeter(robot_of(robot), map_weights(find_layout("smpl22"), source));
  });
}

void motionrt_retargeter_free(motionrt_retargeter* retargeter) { delete retargeter; }

int32_t motionrt_robot_joints(const motionrt_retargeter* retargeter) {
  return retargeter ? static_cast<int32_t>(retargeter->retargeter.robot().joints.size()) : -1;
}

const char* motionrt_robot_joint(const motionrt_retargeter* retargeter, int32_t index) {
  if (index < 0 || index >= motionrt_robot_joints(retargeter)) return nullptr;
  return retargeter->retargeter.robot().joints[index].name.c_str();
}

motionrt_status motionrt_retarget(motionrt_retargeter* retargeter, double t, const motionrt_pose* pose, double* angles,
                                  motionrt_robot_pose* base) {
  return guarded(retargeter, [&] {
    require_pointer(pose, "pose");
    require_pointer(angles, "angles");
    require_pointer(base, "base");
    Retargeter& r = retargeter->retargeter;
    require(pose->joints, "joints of the pose is null, expected a pointer");
    require(pose->joint_count == r.source_joints(), "the pose has ", pose->joint_count, " joints, expected ",
            r.source_joints());
    const Retargeted status = r.step(t, pose->joints, pose->confidence);
    base->tracking = status == Retargeted::tracked   ? MOTIONRT_TRACKED
                     : status == Retargeted::dropped ? MOTIONRT_DROPPED
                                                     : MOTIONRT_MISSING;
    std::copy(r.angles().begin(), r.angles().end(), angles);
    const Vec3 p = r.root().position;
    base->position[0] = p.x, base->position[1] = p.y, base->position[2] = p.z;
    const auto q = quaternion_of(r.root().rotation);
    std::copy(q.begin(), q.end(), base->quaternion);
    for (const int side : {0, 1}) base->contacts[side] = r.contacts()[side];
    const auto worst = std::max_element(r.errors().begin(), r.errors().end());
    base->error_m = *worst;
    base->worst = kRobotKeypointNames[worst - r.errors().begin()];
  });
}

motionrt_status motionrt_retargeter_reset(motionrt_retargeter* retargeter) {
  return guarded(retargeter, [&] { retargeter->retargeter.reset(); });
}
