// Python module motionrt.runtime._core; typed in _core.pyi.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bone_lengths.hpp"
#include "bundle.hpp"
#include "engine.hpp"
#include "image_cut.hpp"
#include "json_clip.hpp"
#include "labels.hpp"
#include "layouts.hpp"
#include "matched_streams.hpp"
#include "retargeter.hpp"
#include "session.hpp"
#include "tracker.hpp"

namespace py = pybind11;
using namespace py::literals;
using motionrt::Config;
using motionrt::Engine;
using motionrt::Event;
using motionrt::Model;
using motionrt::Network;
using motionrt::PersonId;
using motionrt::Session;
using motionrt::Status;

namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;
constexpr py::ssize_t kAny = -1;

std::string shape_text(const std::vector<py::ssize_t>& shape) {
  std::string text = "[";
  for (const py::ssize_t size : shape)
    text += (text.size() > 1 ? ", " : "") + (size == kAny ? "n" : std::to_string(size));
  return text + "]";
}

// The object as a C-contiguous float32 array of this shape, copied only where it is not one.
FloatArray float_array(const py::object& object, const char* name, const std::vector<py::ssize_t>& shape) {
  const std::string expected = ", expected float32 " + shape_text(shape);
  if (!py::isinstance<py::array>(object))
    motionrt::throw_invalid_argument(name, " is a ", py::type::of(object).attr("__name__").cast<std::string>(),
                                     expected);
  const auto array = py::reinterpret_borrow<py::array>(object);
  const char kind = array.dtype().kind();
  if (kind != 'f' && kind != 'i' && kind != 'u')
    motionrt::throw_invalid_argument(name, " has dtype ", std::string(py::str(array.dtype())), expected);
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  for (std::size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] == kAny || shape[i] == array.shape(i);
  if (!fits)
    motionrt::throw_invalid_argument(name, " has shape ", shape_text({array.shape(), array.shape() + array.ndim()}),
                                     expected);
  auto result = FloatArray::ensure(array);
  if (!result) throw py::error_already_set();
  return result;
}

int joint_count(py::ssize_t size) { return static_cast<int>(std::min<py::ssize_t>(size, INT_MAX)); }

const char* text(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::dropped:
      return "dropped";
    case Status::missing:
      return "missing";
    case Status::lost:
      return "lost";
  }
  return "";
}

py::object text(Event event) {
  if (event == Event::none) return py::none();
  return py::str(event == Event::onset ? "onset" : "offset");
}

// Streams of a network that runs in Python: an object with begin(slot), step(slots [N], frames [N, V, 3]) -> logits
// [N, C] and features, and capacity.
class PythonNetwork final : public Network {
 public:
  PythonNetwork(py::object streams, int joints, int labels)
      : streams_(std::move(streams)),
        joints_(joints),
        labels_(labels),
        capacity_(streams_.attr("capacity").cast<int>()) {}
  int joints() const override { return joints_; }
  int labels() const override { return labels_; }
  int capacity() const override { return capacity_; }
  void begin(int slot) override { streams_.attr("begin")(slot); }
  void step(int n, const int* slots, const float* frames_NV3, float* logits_NC, float*) override {
    const py::array_t<int> slots_N(n, slots);
    const py::array_t<float> frames({n, joints_, 3}, frames_NV3);
    const py::tuple result = streams_.attr("step")(slots_N, frames);
    const FloatArray logits = float_array(result[0], "logits", {n, labels_});
    std::copy_n(logits.data(), logits.size(), logits_NC);
  }
  void relabel(int labels) override { labels_ = labels; }

 private:
  const py::object streams_;
  const int joints_;
  int labels_;
  const int capacity_;
};

// Calls push(phase) and pop() around each phase of a step.
class PythonTrace final : public motionrt::Trace {
 public:
  PythonTrace(py::object push, py::object pop) : push_(std::move(push)), pop_(std::move(pop)) {}
  void begin(const char* phase) override { push_(phase); }
  void end() override { pop_(); }

 private:
  const py::object push_, pop_;
};

std::vector<int> slots_of(const Network& streams, const py::array_t<int>& slots) {
  std::vector<int> result(slots.data(), slots.data() + slots.size());
  std::vector<int> sorted = result;
  std::sort(sorted.begin(), sorted.end());
  motionrt::require(sorted.empty() || (sorted.front() >= 0 && sorted.back() < streams.capacity()),
                    "slots holds an invalid number, expected 0 to ", streams.capacity() - 1);
  motionrt::require(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
                    "slots holds a number twice, expected different numbers");
  return result;
}

py::object named_tuple(py::module_& module, const char* name, const char* fields) {
  const py::object type =
      py::module_::import("collections").attr("namedtuple")(name, fields, "module"_a = module.attr("__name__"));
  module.attr(name) = type;
  return type;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The recognition engine: poses, people, the streaming network, scores and events.";
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const motionrt::BundleError& error) {
      py::set_error(py::module_::import("motionrt.runtime.errors").attr("BundleError"), error.what());
    }
  });
  const py::object pushed_type = named_tuple(m, "PushResult", "frames reset status");
  const py::object decision_type = named_tuple(m, "Decision", "label score probs event event_label event_age_s");
  const py::object clip_type = named_tuple(m, "ClipDecision", "label score probs");
  const py::object outcome_type = named_tuple(m, "Outcome", "person status reset frames decision");
  const auto decision_of = [decision_type](const motionrt::Decision& d, const py::array_t<float>& probs_C) {
    return decision_type(d.label, d.score, probs_C, text(d.event), d.event_label, d.event_age_s);
  };
  const auto outcome_of = [outcome_type, decision_of](const motionrt::Outcome& outcome, int labels) {
    return outcome_type(outcome.person, text(outcome.status), outcome.reset, outcome.frames,
                        decision_of(outcome.decision, py::array_t<float>(labels, outcome.scores_C)));
  };

  py::class_<Config>(m, "Config", "Settings of a Session or an Engine.")
      .def(py::init([](int joints, int root, std::vector<int> left, std::vector<int> right, std::vector<int> parents,
                       std::vector<double> bones, bool flat, double rate_hz, double facing_s, double reach_m,
                       double max_gap_s, int max_people, int labels, int none, double temperature, double smooth_s,
                       double on, double off, double hold_s, double others, std::vector<double> on_C,
                       std::vector<double> off_C, std::vector<double> flat_on_C, std::vector<double> flat_off_C) {
             const Config config{joints,
                                 root,
                                 std::move(left),
                                 std::move(right),
                                 std::move(parents),
                                 std::move(bones),
                                 flat,
                                 rate_hz,
                                 facing_s,
                                 reach_m,
                                 max_gap_s,
                                 max_people,
                                 labels,
                                 none,
                                 temperature,
                                 smooth_s,
                                 on,
                                 off,
                                 hold_s,
                                 others,
                                 {std::move(on_C), std::move(off_C)},
                                 {std::move(flat_on_C), std::move(flat_off_C)},
                                 {},
                                 {}};
             motionrt::validate(config);
             return config;
           }),
           py::kw_only(), "joints"_a, "root"_a, "left"_a, "right"_a, "parents"_a = std::vector<int>(),
           "bones"_a = std::vector<double>(), "flat"_a = false, "rate_hz"_a, "facing_s"_a = 1.0, "reach_m"_a = 2.0,
           "max_gap_s"_a = 0.5, "max_people"_a = 16, "labels"_a, "none"_a = -1, "temperature"_a = 1.0,
           "smooth_s"_a = 0.2, "on"_a = 0.6, "off"_a = 0.3, "hold_s"_a = 0.1, "others"_a = 1.0,
           "on_C"_a = std::vector<double>(), "off_C"_a = std::vector<double>(), "flat_on_C"_a = std::vector<double>(),
           "flat_off_C"_a = std::vector<double>());

  py::class_<Session>(m, "Session", "State around the network, for several people. Not thread-safe.")
      .def(py::init<Config>(), "config"_a)
      .def(
          "add_layout",
          [](Session& self, const py::object& weights, bool flat) {
            const FloatArray weights_VS = float_array(weights, "weights", {self.config().joints, kAny});
            return self.add_layout(weights_VS.data(), joint_count(weights_VS.shape(1)), flat);
          },
          "weights"_a, "flat"_a = false,
          "Adds a sensor's skeleton by its weights [V, Vs]; returns its number, for push.")
      .def("relabel", &Session::relabel, "labels"_a, "none"_a = -1,
           "Changes the labels: a current action ends without an event, scores are reset.")
      .def("choose", &Session::choose, "labels"_a, "Limits the labels to some of the network's, and none.")
      .def(
          "push",
          [pushed_type](Session& self, PersonId person, double t, const py::object& joints,
                        const py::object& confidence, int layout) {
            const py::ssize_t source_joints = self.layout_at(layout).source_joints();
            const FloatArray joints_SD = float_array(joints, "joints", {source_joints, self.layout_at(layout).dims()});
            FloatArray confidence_S;
            if (!confidence.is_none()) confidence_S = float_array(confidence, "confidence", {source_joints});
            const auto pushed =
                self.push(person, t, joints_SD.data(), confidence.is_none() ? nullptr : confidence_S.data(), layout);
            const py::ssize_t V = self.config().joints;
            std::vector<float> frame(3 * V), frames;
            if (pushed.status == Status::ok)
              while (self.next(pushed.slot, frame.data())) frames.insert(frames.end(), frame.begin(), frame.end());
            const py::ssize_t count = static_cast<py::ssize_t>(frames.size()) / (3 * V);
            return pushed_type(py::array_t<float>({count, V, py::ssize_t{3}}, frames.data()), pushed.reset,
                               text(pushed.status));
          },
          "person"_a, "t"_a, "joints"_a, "confidence"_a, "layout"_a,
          "Takes one pose [Vs, D] at time t (s); returns the frames [n, V, 3] that are due for the model.")
      .def(
          "observe",
          [](Session& self, PersonId person, const py::object& logits) {
            self.observe(self.find(person), float_array(logits, "logits", {self.config().outputs()}).data());
          },
          "person"_a, "logits"_a, "Takes the logits [C] of one frame that push returned.")
      .def(
          "decision",
          [decision_of](Session& self, PersonId person) {
            py::array_t<float> probs_C(self.config().labels);
            const auto decision = self.decide(self.find(person), probs_C.mutable_data());
            return decision_of(decision, probs_C);
          },
          "person"_a, "Current smoothed scores; returns the pending event once.")
      .def(
          "clip",
          [clip_type](const Session& self, PersonId person) {
            py::array_t<float> probs_C(self.config().labels);
            const auto d = self.decide_clip(self.find(person), probs_C.mutable_data());
            return clip_type(d.label, d.score, std::move(probs_C));
          },
          "person"_a, "One label for everything observed since the person's last reset.")
      .def(
          "reset", [](Session& self, std::optional<PersonId> person) { person ? self.reset(*person) : self.reset(); },
          "person"_a = py::none(), "Forgets a person, including the pending event, or everybody.")
      .def_property_readonly("people", &Session::people, "Ids of the known people, ascending.")
      .def_property_readonly(
          "counters",
          [](const Session& self) {
            const auto& c = self.counters();
            return py::dict("frames"_a = c.frames, "dropped"_a = c.dropped, "resets"_a = c.resets, "lost"_a = c.lost);
          },
          "Totals of the session.");

  py::class_<Model>(m, "StreamGCN", "The immutable network of a bundle.")
      .def(py::init([](const std::string& manifest, const py::bytes& weights, const std::string& where,
                       const std::string& precision) {
             motionrt::require(precision == "fp32" || precision == "bf16", "precision is ", precision,
                               ", expected fp32 or bf16");
             return std::make_unique<Model>(
                 motionrt::parse_bundle(manifest, std::string_view(weights), where),
                 precision == "bf16" ? motionrt::Precision::bf16 : motionrt::Precision::fp32);
           }),
           "manifest"_a, "weights"_a, "where"_a, "precision"_a = "fp32")
      .def_property_readonly("weight_bytes", &Model::weight_bytes, "Size of the weights in memory.")
      .def(
          "streams",
          [](const Model& self, int capacity) {
            motionrt::require(capacity >= 1 && capacity <= motionrt::kMaxPeople, "capacity is ", capacity,
                              ", expected 1 to ", motionrt::kMaxPeople);
            return std::shared_ptr<Network>(self.streams(capacity));
          },
          "capacity"_a, "Creates streams for this many people.");

  py::class_<Network, std::shared_ptr<Network>>(m, "Streams", "Streams of several people.")
      .def_property_readonly("capacity", &Network::capacity, "Maximum number of people.")
      .def(
          "begin",
          [](Network& self, int slot) {
            motionrt::require(slot >= 0 && slot < self.capacity(), "slot is ", slot, ", expected 0 to ",
                              self.capacity() - 1);
            self.begin(slot);
          },
          "slot"_a, "Starts the stream in this slot from zero.")
      .def(
          "step",
          [](Network& self, const py::array_t<int, py::array::c_style | py::array::forcecast>& slots,
             const py::object& frames) {
            const std::vector<int> slots_N = slots_of(self, slots);
            const auto n = static_cast<py::ssize_t>(slots_N.size());
            const FloatArray frames_NV3 = float_array(frames, "frames", {n, self.joints(), 3});
            py::array_t<float> logits_NC({n, py::ssize_t{self.labels()}});
            py::array_t<float> features_ND({n, py::ssize_t{self.features()}});
            self.step(static_cast<int>(n), slots_N.data(), frames_NV3.data(), logits_NC.mutable_data(),
                      features_ND.mutable_data());
            return py::make_tuple(std::move(logits_NC), std::move(features_ND));
          },
          "slots"_a, "frames"_a, "One frame of each slot [N, V, 3] -> logits [N, C], features [N, D].");

  py::class_<Engine>(m, "Engine", "The recognizer. Not thread-safe.")
      .def(py::init([](const Config& config, const py::object& streams, const py::object& push, const py::object& pop,
                       const py::object& flat_streams) {
             const auto network_of = [&](const py::object& run) -> std::shared_ptr<Network> {
               if (run.is_none()) return nullptr;
               if (py::isinstance<Network>(run)) return run.cast<std::shared_ptr<Network>>();
               return std::make_shared<PythonNetwork>(run, config.joints, config.labels);
             };
             std::unique_ptr<motionrt::Trace> trace;
             if (!push.is_none()) trace = std::make_unique<PythonTrace>(push, pop);
             return std::make_unique<Engine>(config, network_of(streams), std::move(trace), network_of(flat_streams));
           }),
           "config"_a, "streams"_a, "push_range"_a = py::none(), "pop_range"_a = py::none(),
           "flat_streams"_a = py::none())
      .def(
          "add_layout",
          [](Engine& self, const py::object& weights, bool flat) {
            const FloatArray weights_VS = float_array(weights, "weights", {self.session().config().joints, kAny});
            return self.add_layout(weights_VS.data(), joint_count(weights_VS.shape(1)), flat);
          },
          "weights"_a, "flat"_a = false,
          "Adds a sensor's skeleton by its weights [V, Vs]; returns its number, for step.")
      .def("relabel", &Engine::relabel, "labels"_a, "none"_a = -1,
           "Changes the labels, if the network can output their logits.")
      .def("choose", &Engine::choose, "labels"_a, "Limits the labels to some of the network's, and none.")
      .def(
          "step",
          [outcome_of](Engine& self, double t, const std::vector<PersonId>& people, const py::object& joints,
                       const py::object& confidence, int layout) {
            const py::ssize_t S = self.session().layout_at(layout).source_joints();
            const py::ssize_t D = self.session().layout_at(layout).dims();
            const auto n = static_cast<py::ssize_t>(people.size());
            const FloatArray joints_NSD = float_array(joints, "joints", {n, S, D});
            FloatArray confidence_NS;
            if (!confidence.is_none()) confidence_NS = float_array(confidence, "confidence", {n, S});
            std::vector<motionrt::Observation> observations(people.size());
            for (py::ssize_t i = 0; i < n; ++i)
              observations[i] = {people[i], joints_NSD.data() + D * S * i,
                                 confidence.is_none() ? nullptr : confidence_NS.data() + S * i};
            std::vector<motionrt::Outcome> outcomes(people.size());
            self.step(t, static_cast<int>(n), observations.data(), layout, outcomes.data());
            py::list result;
            for (const auto& outcome : outcomes) result.append(outcome_of(outcome, self.session().config().labels));
            return result;
          },
          "t"_a, "people"_a, "joints"_a, "confidence"_a, "layout"_a,
          "Takes the poses [N, Vs, D] of N people at time t (s); returns their outcomes.")
      .def(
          "evict",
          [outcome_of](Engine& self, double t) {
            std::vector<motionrt::Outcome> outcomes(self.session().config().max_people);
            outcomes.resize(self.evict(t, outcomes.data()));
            py::list result;
            for (const auto& outcome : outcomes) result.append(outcome_of(outcome, self.session().config().labels));
            return result;
          },
          "t"_a, "Forgets everybody who was not seen for longer than max_gap_s; returns their last outcomes.")
      .def_property_readonly(
          "session", [](Engine& self) -> Session& { return self.session(); },
          py::return_value_policy::reference_internal, "People, clip decisions and counters.");

  py::class_<motionrt::Tracker>(m, "Tracker", "Assigns ids that persist from frame to frame. Not thread-safe.")
      .def(py::init([](double forget_s, int max_people, std::vector<int> parents) {
             return std::make_unique<motionrt::Tracker>(
                 motionrt::TrackerConfig{forget_s, max_people, std::move(parents)});
           }),
           "forget_s"_a = 0.5, "max_people"_a = 16, "parents"_a = std::vector<int>())
      .def(
          "assign",
          [](motionrt::Tracker& self, double t, const std::vector<py::object>& poses,
             const std::optional<std::vector<py::object>>& confidence) {
            motionrt::require(!confidence || confidence->size() == poses.size(), "confidence is of ",
                              confidence ? confidence->size() : 0, " people, poses are of ", poses.size());
            std::vector<FloatArray> arrays;
            std::vector<motionrt::TrackedPose> tracked(poses.size());
            int dims = 3;
            if (!poses.empty() && py::isinstance<py::array>(poses[0])) {
              const auto first = py::reinterpret_borrow<py::array>(poses[0]);
              if (first.ndim() == 2 && first.shape(1) == 2) dims = 2;
            }
            for (std::size_t i = 0; i < poses.size(); ++i) {
              arrays.push_back(float_array(poses[i], "pose", {kAny, dims}));
              tracked[i].joints_VD = arrays.back().data();
              tracked[i].joints = joint_count(arrays.back().shape(0));
              if (!confidence) continue;
              arrays.push_back(float_array((*confidence)[i], "confidence", {kAny}));
              tracked[i].confidence = arrays.back().data();
              tracked[i].confidences = joint_count(arrays.back().shape(0));
            }
            std::vector<int> ids(poses.size());
            self.assign(t, static_cast<int>(poses.size()), tracked.data(), dims, ids.data());
            return ids;
          },
          "t"_a, "poses"_a, "confidence"_a = py::none(),
          "The ids of the poses [V, 2] or [V, 3] at time t (s); -1: none.")
      .def("reset", &motionrt::Tracker::reset, "Forgets everybody.");

  py::class_<motionrt::Retargeter>(m, "Retargeter", "A person's joints to a robot's angles. Not thread-safe.")
      .def(py::init([](const std::string& robot, const py::object& weights, const std::optional<std::string>& json) {
             const FloatArray weights_VS = float_array(weights, "weights", {22, kAny});
             return std::make_unique<motionrt::Retargeter>(
                 json ? motionrt::parse_robot(*json, robot) : motionrt::find_robot(robot), weights_VS.data(),
                 joint_count(weights_VS.shape(1)));
           }),
           "robot"_a, "weights"_a, "json"_a = py::none())
      .def(
          "step",
          [text_of =
               [](motionrt::Retargeted r) {
                 return r == motionrt::Retargeted::tracked   ? "tracked"
                        : r == motionrt::Retargeted::dropped ? "dropped"
                                                             : "missing";
               }](motionrt::Retargeter& self, double t, const py::object& joints, const py::object& confidence) {
            const FloatArray joints_S3 = float_array(joints, "joints", {self.source_joints(), 3});
            FloatArray confidence_S;
            if (!confidence.is_none()) confidence_S = float_array(confidence, "confidence", {self.source_joints()});
            return text_of(self.step(t, joints_S3.data(), confidence.is_none() ? nullptr : confidence_S.data()));
          },
          "t"_a, "joints"_a, "confidence"_a, "Takes joints [Vs, 3] at time t (s): tracked, dropped or missing.")
      .def("reset", &motionrt::Retargeter::reset, "Starts over with the next frame.")
      .def_property_readonly(
          "joints",
          [](const motionrt::Retargeter& self) {
            py::list result;
            for (const auto& joint : self.robot().joints)
              result.append(py::make_tuple(joint.name, joint.lower, joint.upper, joint.max_velocity));
            return result;
          },
          "Name, lower and upper limit (rad) and largest velocity (rad/s) of each joint.")
      .def(
          "pose",
          [](const motionrt::Retargeter& self) {
            const motionrt::Vec3 p = self.root().position;
            const auto q = motionrt::quaternion_of(self.root().rotation);
            py::array_t<double> position(3), quaternion(4), angles(static_cast<py::ssize_t>(self.angles().size()));
            position.mutable_at(0) = p.x, position.mutable_at(1) = p.y, position.mutable_at(2) = p.z;
            std::copy(q.begin(), q.end(), quaternion.mutable_data());
            std::copy(self.angles().begin(), self.angles().end(), angles.mutable_data());
            return py::make_tuple(std::move(position), std::move(quaternion), std::move(angles));
          },
          "Position [3] and quaternion [4] of the root, and angles [J].")
      .def(
          "tracking",
          [](const motionrt::Retargeter& self) {
            constexpr py::ssize_t kPoints = motionrt::kRobotKeypoints;
            py::array_t<double> points({kPoints, py::ssize_t{3}}), targets({kPoints, py::ssize_t{3}});
            py::array_t<double> center(3);
            py::array_t<bool> contacts(2);
            const motionrt::Vec3 c = self.center_of_mass();
            center.mutable_at(0) = c.x, center.mutable_at(1) = c.y, center.mutable_at(2) = c.z;
            for (py::ssize_t k = 0; k < kPoints; ++k) {
              const motionrt::Vec3 p = self.keypoints()[k], q = self.targets()[k];
              points.mutable_at(k, 0) = p.x, points.mutable_at(k, 1) = p.y, points.mutable_at(k, 2) = p.z;
              targets.mutable_at(k, 0) = q.x, targets.mutable_at(k, 1) = q.y, targets.mutable_at(k, 2) = q.z;
            }
            for (int side = 0; side < 2; ++side) contacts.mutable_at(side) = self.contacts()[side];
            return py::make_tuple(std::move(points), std::move(targets), std::move(contacts), std::move(center),
                                  self.clearance());
          },
          "Keypoints [14, 3] and their targets [14, 3], which feet rest [2], center of mass [3], clearance (m).")
      .def(
          "soles",
          [](const motionrt::Retargeter& self) {
            py::list sides;
            for (const auto& sole : self.robot().soles) {
              py::array_t<double> corners({static_cast<py::ssize_t>(sole.size()), py::ssize_t{3}});
              for (std::size_t i = 0; i < sole.size(); ++i) {
                const motionrt::Vec3 p = motionrt::point_at(self.links().data(), sole[i]);
                const auto row = static_cast<py::ssize_t>(i);
                corners.mutable_at(row, 0) = p.x, corners.mutable_at(row, 1) = p.y, corners.mutable_at(row, 2) = p.z;
              }
              sides.append(std::move(corners));
            }
            return sides;
          },
          "Corners [n, 3] of the left and of the right sole.");

  m.def("choose_labels", &motionrt::choose_labels, "model"_a, "labels"_a, "none"_a, "chosen"_a,
        "Indices of the labels with these texts, without none.");
  m.def(
      "thresholds_at",
      [](std::vector<double> rates, std::vector<std::vector<double>> on, std::vector<std::vector<double>> off,
         double per_minute, const std::string& model) {
        auto found = motionrt::thresholds_at({std::move(rates), std::move(on), std::move(off), 0}, per_minute, model);
        return py::make_tuple(std::move(found.on), std::move(found.off));
      },
      "rates"_a, "on"_a, "off"_a, "per_minute"_a, "model"_a,
      "Thresholds on [C] and off [C] for a number of false alarms per minute.");
  m.def(
      "cut_image",
      [](const py::array_t<std::uint8_t, py::array::c_style | py::array::forcecast>& image,
         std::array<double, 2> origin, std::array<double, 2> right, std::array<double, 2> down, int size,
         bool goes_on) {
        if (image.ndim() != 3 || image.shape(2) != 3 || !image.size() || size < 1)
          throw std::invalid_argument("image has another shape, expected uint8 [height, width, 3]");
        py::array_t<float> out({size, size, 3});
        motionrt::cut_image(image.data(), static_cast<int>(image.shape(0)), static_cast<int>(image.shape(1)),
                            origin.data(), right.data(), down.data(), size, goes_on, out.mutable_data());
        return out;
      },
      "image"_a, "origin"_a, "right"_a, "down"_a, "size"_a, "goes_on"_a,
      "Colors [size, size, 3], 0 to 1, of the image at origin + x right + y down; it goes on at the border, or is "
      "black.");
  m.def(
      "project_lengths",
      [](py::array_t<double, py::array::c_style> joints,
         const std::vector<std::tuple<std::int64_t, std::int64_t, double>>& bones,
         const py::array_t<bool, py::array::c_style | py::array::forcecast>& is_free, int projections) {
        if (joints.ndim() != 3 || joints.shape(1) != 3 || is_free.ndim() != 1 || is_free.shape(0) != joints.shape(0))
          throw std::invalid_argument("joints has another shape, expected [V, 3, T], and is_free [V]");
        std::vector<motionrt::Bone> found;
        for (const auto& [a, b, length] : bones) {
          if (std::min(a, b) < 0 || std::max(a, b) >= joints.shape(0))
            throw std::invalid_argument("bones has joints beyond those there are");
          found.push_back({a, b, length});
        }
        return motionrt::project_lengths(joints.mutable_data(), joints.shape(2), found, is_free.data(), projections);
      },
      "joints"_a.noconvert(), "bones"_a, "is_free"_a, "projections"_a,
      "Move joints [V, 3, T] that are free so that bones get their lengths, in place.");
  m.def(
      "parse_json_clip",
      [](const py::bytes& text, std::size_t min_frames, std::size_t max_frames, std::size_t max_joints,
         std::size_t max_others) {
        const std::string_view view = text;
        const auto clip = [&] {
          const py::gil_scoped_release others_run;
          return motionrt::parse_json_clip(view, min_frames, max_frames, max_joints, max_others);
        }();
        const py::array_t<float> joints({clip.frames, clip.joints, clip.dims}, clip.joints_TVC.data());
        return py::make_tuple(joints, py::bytes(clip.others));
      },
      "text"_a, "min_frames"_a, "max_frames"_a, "max_joints"_a, "max_others"_a,
      "The joints [T, V, C] of a clip in JSON, and the text without them.");
  m.def(
      "instruction_set", [] { return motionrt::supported_kernels().front()->name; },
      "Instruction set that the network uses here: avx512, avx2, neon or portable.");
  m.def(
      "peak_flops",
      [](double seconds) {
        using Clock = std::chrono::steady_clock;
        const auto& kernels = *motionrt::supported_kernels().front();
        constexpr std::int64_t kRounds = 1'000'000;
        double best = 0;
        volatile double sink = 0;
        for (const auto start = Clock::now(); std::chrono::duration<double>(Clock::now() - start).count() < seconds;) {
          const auto before = Clock::now();
          sink = kernels.multiply_adds(kRounds);
          const double took_s = std::chrono::duration<double>(Clock::now() - before).count();
          best = std::max(best, static_cast<double>(kRounds) * kernels.flops_per_round / took_s);
        }
        static_cast<void>(sink);
        return best;
      },
      "seconds"_a, "Highest measured rate of multiply-adds of one thread, in FLOP/s (fp32).");
  m.def(
      "layout_weights",
      [](const std::string& target, const std::string& source, bool needs_legs) {
        const auto& to = motionrt::find_layout(target);
        const auto& from = motionrt::find_layout(source);
        const auto weights = motionrt::map_weights(to, from, needs_legs);
        return py::array_t<float>({to.joints.size(), from.joints.size()}, weights.data());
      },
      "target"_a, "source"_a, "needs_legs"_a = true,
      "Weights [V, Vs] from one built-in layout to another, as computed by the C library.");
}
