// Matches mean features of motion with texts and examples that were compiled into a bundle; the counterpart of
// runtime/recognition/matcher.py, of alignment.py there and of the graph `match` of export/zero_shot.py.
#pragma once

#include <memory>
#include <vector>

#include "bundle.hpp"
#include "gestures.hpp"
#include "stream_gcn.hpp"

namespace motionrt {

// Shapes: D features, F their width after projection, E width of the space of features and texts, J noises, T texts, L
// tokens of a text, E width of the network, N prototypes, H labels with examples, C labels, the last of which is none.
// Immutable, shared by streams.
class Matcher {
 public:
  // Throws BundleError if the weights do not fit the settings, which the bundle must have.
  Matcher(const Bundle& bundle, Precision precision, const Kernels& kernels);

  const MatchingConfig& config() const { return config_; }
  int labels() const { return labels_; }
  std::size_t weight_bytes() const;

  // The same texts with other examples, which must be those of the labels `examples` among so many labels; those of
  // none, the last one, are of motion that is no gesture.
  std::shared_ptr<const Matcher> with_examples(int labels, std::vector<int> examples, const Gestures& gestures) const;

  // Memory of one thread.
  struct Buffers {
    explicit Buffers(const Matcher& matcher);
    std::vector<float> centered_D, z_F, errors_T, scores_H, weights_S;
    AlignedFloats noisy, embedded, x, modulated, qkv, hidden, out;  // rows: noises, or texts and noises
  };
  // Mean feature [D] -> logits [C].
  void match(const float* feature_D, Buffers& buffers, float* logits_C) const;

 private:
  struct Block {
    Matrix qkv, proj, fc1, fc2;
  };
  void multiply(const Matrix& matrix, int rows, const float* a, int depth, int stride, float* out, int columns) const;
  void match_examples(Buffers& buffers, float* logits_C) const;
  void project(const float* feature_D, float* centered_D, float* z_F) const;
  void align(Buffers& buffers) const;
  void errors(Buffers& buffers) const;
  void modulate(const float* modulation_2E, int first_text, int rows, const float* x, float* out) const;
  void attend(int block, int first_text, int rows, const float* qkv, float* weights, float* out) const;
  void add(const float* gate_E, int first_text, int rows, const float* change, float* x) const;

  MatchingConfig config_;
  int labels_, features_, T_;
  std::vector<float> motion_FE_, motion_E_, texts_TE_, offset_T_;
  int tokens_width_ = 0, modulation_width_ = 0;  // floats of a token's and of a text's modulation
  const Kernels& kernels_;
  std::vector<float> mean_D_, projection_DF_, noises_JF_, tokens_TLR_, modulation_TM_, prototypes_NF_, head_HD_,
      bias_H_;
  Matrix embed_, last_;
  std::vector<Block> blocks_;
};

}  // namespace motionrt
