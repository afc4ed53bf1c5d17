// The recognizer: poses of several people in, decisions out.
#pragma once

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "errors.hpp"
#include "network.hpp"
#include "session.hpp"

namespace motionrt {

struct Observation {
  PersonId person = 0;
  const float* joints_SD = nullptr;     // 3-D: meters; 2-D: any unit; not finite: missing
  const float* confidence_S = nullptr;  // 0, less or NaN: missing; null: unknown
};

struct Outcome {
  PersonId person = 0;
  Status status = Status::ok;
  bool reset = false;  // the person is new, back after a gap, or lost
  int frames = 0;      // fed to the network
  Decision decision;
  const float* scores_C = nullptr;  // smoothed probabilities, valid until the engine's next call
};

// Receives the begin and end of every phase of a step.
class Trace {
 public:
  virtual ~Trace() = default;
  virtual void begin(const char* phase) = 0;
  virtual void end() = 0;
};

// Not thread-safe. After the layouts are added, only relabel and choose allocate. Throws std::invalid_argument before
// anything is changed, and BundleError if the network's output is not finite.
class Engine {
 public:
  // flat_network: runs 2-D poses; null: the same network runs them.
  Engine(const Config& config, std::shared_ptr<Network> network, std::unique_ptr<Trace> trace = nullptr,
         std::shared_ptr<Network> flat_network = nullptr)
      : session_(config),
        network_(std::move(network)),
        flat_network_(flat_network ? std::move(flat_network) : network_),
        trace_(std::move(trace)) {
    for (const Network* run : {network_.get(), flat_network_.get()}) {
      require(run->joints() == config.joints, "joints is ", config.joints, ", expected ", run->joints());
      require(run->labels() == config.labels, "labels is ", config.labels, ", expected ", run->labels());
      require(run->capacity() >= config.max_people, "max_people is ", config.max_people, ", expected at most ",
              run->capacity());
    }
    const std::size_t people = config.max_people;
    ids_.resize(people);
    slots_.resize(people);
    frames_NV3_.resize(people * 3 * config.joints);
    resize_buffers();
  }

  // Changes the labels if the network can output their logits; see Session::relabel.
  void relabel(int labels, int none) {
    with_labels(session_.config(), labels, none);
    network_->relabel(labels);
    if (flat_network_ != network_) flat_network_->relabel(labels);
    session_.relabel(labels, none);
    resize_buffers();
  }

  // Limits the labels to some of the network's, in this order, and none; see Session::choose.
  void choose(const std::vector<int>& labels) {
    session_.choose(labels);
    resize_buffers();
  }

  // Adds a sensor's skeleton by its weights [V, S]; returns its number, for step. Flat: its joints are in 2-D.
  int add_layout(const float* weights_VS, int source_joints, bool is_flat = false) {
    return session_.add_layout(weights_VS, source_joints, is_flat);
  }

  // Takes the poses of n different people at time t (s, increasing for each person); writes n outcomes.
  void step(double t, int n, const Observation* observations, int layout, Outcome* out) {
    const Config& config = session_.config();
    require(n >= 0 && n <= config.max_people, n, " people in one step, expected 0 to ", config.max_people);
    for (int i = 0; i < n; ++i) {
      ids_[i] = observations[i].person;
      require(std::find(ids_.begin(), ids_.begin() + i, ids_[i]) == ids_.begin() + i, "person ", ids_[i],
              " occurs twice, expected different people");
    }
    session_.check(t, n, ids_.data(), layout);
    Network& network = *(session_.layout_at(layout).is_flat() ? flat_network_ : network_);
    {
      const Phase phase(trace_.get(), "map");
      for (int i = 0; i < n; ++i) {
        const PushResult pushed =
            session_.push(ids_[i], t, observations[i].joints_SD, observations[i].confidence_S, layout);
        if (pushed.reset) network.begin(pushed.slot);
        out[i] = {ids_[i], pushed.status, pushed.reset, 0, {}, nullptr};
      }
    }
    while (step_network(network, n, out)) {
    }
    const Phase phase(trace_.get(), "decide");
    for (int i = 0; i < n; ++i) decide(session_.find(ids_[i]), out[i]);
  }

  // Forgets everybody who has not been seen for longer than max_gap_s at time t. Writes their last outcomes, at most
  // max_people, and returns the number of them.
  int evict(double t, Outcome* out) {
    require(std::abs(t) <= kMaxTimeS, "t is ", t, ", expected seconds, finite and within ", kMaxTimeS);
    int n = 0;
    for (int slot; (slot = session_.find_absent(t)) >= 0; ++n) {
      out[n] = {session_.person_at(slot), Status::lost, true, 0, {}, nullptr};
      decide(slot, out[n]);
      session_.reset(out[n].person);
    }
    return n;
  }

  // Smoothed probabilities [C] of a person after the last step.
  const float* scores(PersonId person) const { return scores_NC_.data() + score_offset(session_.find(person)); }

  Session& session() { return session_; }
  const Session& session() const { return session_; }

 private:
  class Phase {
   public:
    Phase(Trace* trace, const char* name) : trace_(trace) {
      if (trace_) trace_->begin(name);
    }
    ~Phase() {
      if (trace_) trace_->end();
    }
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    Trace* const trace_;
  };

  // Runs the network on one due frame of everybody who has one, in one batch; false if nobody has.
  bool step_network(Network& network, int n, Outcome* out) {
    const std::size_t frame = 3 * session_.config().joints, outputs = session_.config().outputs();
    int due = 0;
    for (int i = 0; i < n; ++i) {
      const int slot = out[i].status == Status::ok ? session_.find(ids_[i]) : -1;
      if (slot < 0 || !session_.next(slot, frames_NV3_.data() + frame * due)) continue;
      slots_[due++] = slot;
      ++out[i].frames;
    }
    if (due == 0) return false;
    {
      const Phase phase(trace_.get(), "step");
      network.step(due, slots_.data(), frames_NV3_.data(), logits_N_.data(), nullptr);
    }
    try {
      for (int i = 0; i < due; ++i) session_.observe(slots_[i], logits_N_.data() + outputs * i);
    } catch (const std::invalid_argument& error) {
      throw BundleError(error.what());
    }
    return true;
  }

  void resize_buffers() {
    const Config& config = session_.config();
    logits_N_.assign(static_cast<std::size_t>(config.outputs()) * config.max_people, 0);
    scores_NC_.assign(score_offset(config.max_people), 0);
  }

  std::size_t score_offset(int slot) const { return static_cast<std::size_t>(session_.config().labels) * slot; }

  void decide(int slot, Outcome& out) {
    float* scores = scores_NC_.data() + score_offset(slot);
    out.decision = session_.decide(slot, scores);
    out.scores_C = scores;
  }

  Session session_;
  const std::shared_ptr<Network> network_, flat_network_;
  const std::unique_ptr<Trace> trace_;
  std::vector<PersonId> ids_;                             // [N]
  std::vector<int> slots_;                                // [N]
  std::vector<float> frames_NV3_, logits_N_, scores_NC_;  // logits of all the network's labels
};

}  // namespace motionrt
