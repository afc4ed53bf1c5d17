// Python module motionrt.runtime._core; its types are described in _core.pyi.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <climits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "session.hpp"

namespace py = pybind11;
using namespace py::literals;
using motionrt::Config;
using motionrt::Event;
using motionrt::PersonId;
using motionrt::Session;
using motionrt::Status;

namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
constexpr py::ssize_t kAny = -1;

std::string shape_text(const std::vector<py::ssize_t>& shape) {
  std::string text = "[";
  for (const py::ssize_t size : shape)
    text += (text.size() > 1 ? ", " : "") + (size == kAny ? "n" : std::to_string(size));
  return text + "]";
}

// The object as a C-contiguous float32 array of this shape, copied only where it is not one.
Floats floats(const py::object& object, const char* name, const std::vector<py::ssize_t>& shape) {
  const std::string expected = ", expected float32 " + shape_text(shape);
  if (!py::isinstance<py::array>(object))
    motionrt::fail(name, " is a ", py::type::of(object).attr("__name__").cast<std::string>(), expected);
  const auto array = py::reinterpret_borrow<py::array>(object);
  const char kind = array.dtype().kind();
  if (kind != 'f' && kind != 'i' && kind != 'u')
    motionrt::fail(name, " has dtype ", std::string(py::str(array.dtype())), expected);
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  for (std::size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] == kAny || shape[i] == array.shape(i);
  if (!fits)
    motionrt::fail(name, " has shape ", shape_text({array.shape(), array.shape() + array.ndim()}), expected);
  auto result = Floats::ensure(array);
  if (!result) throw py::error_already_set();
  return result;
}

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

py::object named_tuple(py::module_& module, const char* name, const char* fields) {
  const py::object type = py::module_::import("collections")
                              .attr("namedtuple")(name, fields, "module"_a = module.attr("__name__"));
  module.attr(name) = type;
  return type;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Everything around the recognition network: poses, people, scores and events.";
  const py::object pushed_type = named_tuple(m, "Pushed", "frames reset status");
  const py::object decision_type = named_tuple(m, "Decision", "label score probs event event_label event_age_s");
  const py::object clip_type = named_tuple(m, "ClipDecision", "label score probs");

  py::class_<Session>(m, "Session",
                      "State around the network, for several people. Not for several threads at once.")
      .def(py::init([](int joints, int root, std::vector<int> left, std::vector<int> right, double rate_hz,
                       double facing_s, double reach_m, double max_gap_s, int max_people, int labels,
                       int none, double temperature, double smooth_s, double on, double off, double hold_s) {
             return std::make_unique<Session>(Config{joints, root, std::move(left), std::move(right), rate_hz,
                                                     facing_s, reach_m, max_gap_s, max_people, labels, none,
                                                     temperature, smooth_s, on, off, hold_s});
           }),
           py::kw_only(), "joints"_a, "root"_a, "left"_a, "right"_a, "rate_hz"_a, "facing_s"_a = 1.0,
           "reach_m"_a = 2.0, "max_gap_s"_a = 0.5, "max_people"_a = 16, "labels"_a, "none"_a = -1,
           "temperature"_a = 1.0, "smooth_s"_a = 0.2, "on"_a = 0.6, "off"_a = 0.3, "hold_s"_a = 0.1)
      .def(
          "add_layout",
          [](Session& self, const py::object& weights) {
            const Floats weights_VS = floats(weights, "weights", {self.config().joints, kAny});
            return self.add_layout(weights_VS.data(),
                                   static_cast<int>(std::min<py::ssize_t>(weights_VS.shape(1), INT_MAX)));
          },
          "weights"_a, "Registers a sensor's skeleton by its weights [V, Vs]; returns its number, for push.")
      .def(
          "push",
          [pushed_type](Session& self, PersonId person, double t, const py::object& joints,
                        const py::object& confidence, int layout) {
            const py::ssize_t source_joints = self.layout_at(layout).source_joints();
            const Floats joints_S3 = floats(joints, "joints", {source_joints, 3});
            Floats confidence_S;
            if (!confidence.is_none()) confidence_S = floats(confidence, "confidence", {source_joints});
            const auto pushed = self.push(person, t, joints_S3.data(),
                                          confidence.is_none() ? nullptr : confidence_S.data(), layout);
            const py::ssize_t joints_out = self.config().joints;
            const py::ssize_t frames = static_cast<py::ssize_t>(pushed.frames.size()) / (3 * joints_out);
            py::array_t<float> frames_TV3({frames, joints_out, py::ssize_t{3}});
            std::copy(pushed.frames.begin(), pushed.frames.end(), frames_TV3.mutable_data());
            return pushed_type(std::move(frames_TV3), pushed.reset, text(pushed.status));
          },
          "person"_a, "t"_a, "joints"_a, "confidence"_a, "layout"_a,
          "Takes one pose [Vs, 3] of time t (s); returns the frames [n, V, 3] that are due to the model.")
      .def(
          "observe",
          [](Session& self, PersonId person, const py::object& logits) {
            self.observe(person, floats(logits, "logits", {self.config().labels}).data());
          },
          "person"_a, "logits"_a, "Takes the logits [C] of one frame that push returned.")
      .def(
          "decision",
          [decision_type](Session& self, PersonId person) {
            py::array_t<float> probs_C(self.config().labels);
            const auto d = self.decide(person, probs_C.mutable_data());
            return decision_type(d.label, d.score, std::move(probs_C), text(d.event), d.event_label,
                                 d.event_age_s);
          },
          "person"_a, "Smoothed scores now; hands out the pending event once.")
      .def(
          "clip",
          [clip_type](Session& self, PersonId person) {
            py::array_t<float> probs_C(self.config().labels);
            const auto d = self.decide_clip(person, probs_C.mutable_data());
            return clip_type(d.label, d.score, std::move(probs_C));
          },
          "person"_a, "One label for everything observed since the person's last reset.")
      .def(
          "reset",
          [](Session& self, std::optional<PersonId> person) { person ? self.reset(*person) : self.reset(); },
          "person"_a = py::none(), "Forgets a person, pending event included, or everybody.")
      .def_property_readonly("people", &Session::people, "Ids of the people known, ascending.")
      .def_property_readonly(
          "counters",
          [](const Session& self) {
            const auto& c = self.counters();
            return py::dict("frames"_a = c.frames, "dropped"_a = c.dropped, "resets"_a = c.resets,
                            "lost"_a = c.lost);
          },
          "Totals since the session was made.");
}
