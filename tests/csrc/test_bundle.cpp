#include <filesystem>
#include <fstream>
#include <random>

#include "bundle.hpp"
#include "check.hpp"
#include "sha256.hpp"
#include "tiny_bundle.hpp"

using motionrt::parse_bundle;
using motionrt::read_bundle;
namespace fs = std::filesystem;

namespace {

// A temporary folder.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("motionrt-bundle-" + std::to_string(std::random_device()()));
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path / name, std::ios::binary) << content;
  }
};

void a_bundle_is_read() {
  TinyModel tiny;
  tiny.channels = {8, 12};
  tiny.kernel = 3;
  tiny.dilations = {1, 4};
  tiny.classes = 3;
  const auto bundle = parse_bundle(tiny_manifest(tiny), tiny_weights(tiny), "b");
  CHECK(bundle.name == "tiny" && bundle.license == "Apache-2.0" && bundle.layout == "core15");
  CHECK((bundle.labels == std::vector<std::string>{"wave 1", "wave 2", "none"}));

  const auto& session = bundle.session;
  CHECK(session.joints == 3 && session.labels == 3 && session.none == 2 && session.rate_hz == 20);
  CHECK(session.facing_s == 1 && session.reach_m == 2 && session.max_gap_s == 0.5);
  CHECK(session.temperature == 1 && session.smooth_s == 0.1 && session.hold_s == 0.2);
  CHECK(session.on == 0.7 && session.off == 0.35);
  CHECK(session.left.empty() && session.right.empty());

  const auto& model = bundle.model;
  CHECK((model.parents == std::vector<int>{-1, 0, 1}) && model.joints() == 3 && model.classes == 3);
  CHECK((model.channels == std::vector<int>{8, 12}) && (model.dilations == std::vector<int>{1, 4}));
  CHECK(model.kernel == 3 && model.fps == 20 && model.features == 12);
  CHECK(model.width(8) == 2 && model.width(12) == 4);
  CHECK(model.state == 1 + 9 + (2 + 8) * 3 * (2 + 4));
  CHECK(model.receptive_field == 2 + 8 + 8);
  CHECK(require_tensor(bundle.weights, "blocks.1.shortcut.weight", {12, 8, 1, 1}, "b").values.size() == 96);
}

void a_model_may_have_a_body() {
  TinyModel tiny;
  tiny.body = 6;
  tiny.body_blocks = 2;
  const auto model = parse_bundle(tiny_manifest(tiny), tiny_weights(tiny), "b").model;
  CHECK(model.body == 6 && model.body_blocks == 2 && model.features == 6);
  CHECK(model.state == 1 + 9 + 1 * 3 * 2 + 2 * 3 && model.receptive_field == 2 + 3);
}

std::string with_alarms(const std::string& alarms) {
  return replaced(tiny_manifest(), "\"hold_s\": 0.2", "\"hold_s\": 0.2, \"alarms\": " + alarms);
}

void a_bundle_may_have_thresholds_by_false_alarms() {
  CHECK(parse_bundle(tiny_manifest(), tiny_weights(), "b").alarms.per_minute.empty());
  const auto alarms =
      parse_bundle(with_alarms(R"({"per_minute": [0.5, 2], "on": [[0.9, 1], [0.6, 1]], "off": [[0.4, 1], [0, 1]]})"),
                   tiny_weights(), "b")
          .alarms;
  CHECK((alarms.per_minute == std::vector<double>{0.5, 2}));
  CHECK((alarms.on == std::vector<std::vector<double>>{{0.9, 1}, {0.6, 1}}));
  CHECK((alarms.off == std::vector<std::vector<double>>{{0.4, 1}, {0, 1}}));
  const auto normal = parse_bundle(
      with_alarms(R"({"per_minute": [1], "on": [[0.9, 1]], "off": [[0.4, 1]], "default": 1})"), tiny_weights(), "b");
  CHECK((normal.session.by_label.on == std::vector<double>{0.9, 1} &&
         normal.session.by_label.off == std::vector<double>{0.4, 1}));
  const struct {
    const char *alarms, *part;
  } cases[] = {
      {"[]", "b/manifest.json: decision: alarms: [], expected an object"},
      {"{}", "decision: alarms: per_minute is missing"},
      {R"({"per_minute": []})", "per_minute: [], expected a list of 1 to 100 numbers from 0.001 to 1000"},
      {R"({"per_minute": [0]})", "per_minute: [0], expected a list"},
      {R"({"per_minute": [1, 1]})", "per_minute: [1, 1], expected rising numbers"},
      {R"({"per_minute": [1]})", "alarms: on is missing"},
      {R"({"per_minute": [1], "on": [[1]]})", "on: [[1]], expected 1 lists of 2 numbers from 0 to 1"},
      {R"({"per_minute": [1], "on": [[1, 1.5]]})", "on: [[1, 1.5]], expected 1 lists of 2 numbers"},
      {R"({"per_minute": [1], "on": [[1, null]]})", "on: [[1, null]], expected 1 lists of 2 numbers"},
      {R"({"per_minute": [1], "on": [1, 1]})", "on: [1, 1], expected 1 lists of 2 numbers"},
      {R"({"per_minute": [1], "on": [[1, 1], [1, 1]]})", "expected 1 lists of 2 numbers"},
      {R"({"per_minute": [1], "on": [[1, 1]], "off": 0})", "off: 0, expected 1 lists of 2 numbers"},
      {R"({"per_minute": [1], "on": [[0.5, 1]], "off": [[0.6, 0]]})",
       "alarms: off 0.6 is above on 0.5 of label 'wave 1'"},
      {R"({"per_minute": [1, 2], "on": [[0.5, 1], [0.6, 1]], "off": [[0, 0], [0, 0]]})",
       "alarms: on 0.6 follows 0.5 of label 'wave 1', expected that it does not rise with per_minute"},
      {R"({"per_minute": [1, 2], "on": [[1, 1], [1, 1]], "off": [[0, 0], [0, 0]], "default": 3})",
       "alarms: default: 3, expected 1 to 2, the range of per_minute"},
  };
  for (const auto& [text, part] : cases) CHECK_REJECTED(parse_bundle(with_alarms(text), tiny_weights(), "b"), part);
}

void what_was_not_chosen_has_a_default_weight() {
  CHECK(parse_bundle(tiny_manifest(), tiny_weights(), "b").session.others == 1);
  const auto manifest = replaced(tiny_manifest(), "\"hold_s\": 0.2", "\"hold_s\": 0.2, \"others\": 0.25");
  CHECK(parse_bundle(manifest, tiny_weights(), "b").session.others == 0.25);
  CHECK_REJECTED(parse_bundle(replaced(manifest, "0.25", "2"), tiny_weights(), "b"),
                 "decision: others: 2, expected a number from 0 to 1");
}

void a_bundle_may_lack_a_none_label() {
  const auto manifest = replaced(tiny_manifest(), "\"none\": \"none\"", "\"none\": null");
  CHECK(parse_bundle(manifest, tiny_weights(), "b").session.none == -1);
}

void a_field_that_is_wrong_is_named() {
  const struct {
    const char *from, *to, *part;
  } cases[] = {
      {"\"schema\": 1", "\"schema\": 2", "b/manifest.json: schema 2, this version of motionrt reads schema 1"},
      {"\"schema\": 1", "\"schema\": 1.0", "schema 1.0, this version of motionrt reads schema 1"},
      {"\"schema\": 1, ", "", "schema is missing"},
      {"\"recognition\"", "\"generation\"", "task: \"generation\", expected recognition"},
      {"\"tiny\"", "\"\"", "name: \"\", expected a text of 1 to 10000 characters"},
      {"\"Apache-2.0\"", "null", "license: null, expected a text"},
      {"\"core15\"", "[]", "layout: [], expected a text"},
      {"\"fps\": 20.0", "\"fps\": 0.5", "fps: 0.5, expected a number from 1 to 1000"},
      {"\"fps\": 20.0", "\"fps\": 1e400", "fps: 1e400, expected a number"},
      {"\"fps\": 20.0", "\"fps\": NaN", "not valid JSON"},
      {"\"fps\": 20.0", "\"fps\": 30", "model: fps: 20.0, expected that of the bundle, 30"},
      {"\"frontend\": {", "\"frontend\": 1, \"x\": {", "frontend: 1, expected an object"},
      {"\"facing_s\": 1.0", "\"facing_s\": -1", "frontend: facing_s: -1, expected a number from 0 to 3600"},
      {"\"reach_m\": 2.0", "\"reach_m\": 0", "frontend: reach_m: 0"},
      {"\"max_gap_s\": 0.5", "\"max_gap_s\": 61", "frontend: max_gap_s: 61"},
      {"\"max_gap_s\": 0.5", "\"max_gap_s\": 0.5, \"bones\": null",
       "frontend: bones: null, expected a list of 1 to 256 numbers from 0 to 10"},
      {"\"max_gap_s\": 0.5", "\"max_gap_s\": 0.5, \"bones\": [0, 0.5]",
       "frontend: bones: 2 numbers, expected one for each of 3 joints"},
      {"\"max_gap_s\": 0.5", "\"max_gap_s\": 0.5, \"flat\": 1", "frontend: flat: 1, expected true or false"},
      {"\"temperature\": 1.0", "\"temperature\": 0", "decision: temperature: 0"},
      {"\"smooth_s\": 0.1", "\"smooth_s\": \"0\"", "decision: smooth_s: \"0\""},
      {"\"on\": 0.7", "\"on\": 1.1", "decision: on: 1.1, expected a number from 0 to 1"},
      {"\"off\": 0.35", "\"off\": 0.8", "decision: off 0.8 is above on 0.7"},
      {"\"hold_s\": 0.2", "\"hold_s\": true", "decision: hold_s: true"},
      {"\"labels\": [", "\"labels\": 1, \"x\": [", "labels: 1, expected a list of 1 to 10000 texts"},
      {"\"wave 1\", \"none\"", "", "labels: [], expected a list"},
      {"\"wave 1\"", "1", "labels: [1, \"none\"], expected a list of 1 to 10000 texts of 1 to 10000 characters"},
      {"\"wave 1\"", "\"\\u001b[2J\"", "labels: [\"\\u001b[2J\", \"none\"], expected a list of 1 to 10000 texts"},
      {"\"wave 1\"", "\"a\u202e\"", "expected a list of 1 to 10000 texts"},
      {"\"wave 1\"", "\"none\"", "labels: a label occurs twice"},
      {"\"wave 1\", ", "", "labels: no label other than 'none'"},
      {"\"none\": \"none\"", "\"none\": \"no\"", "none: 'no' is not one of the labels"},
      {"\"none\": \"none\",", "", "none is missing"},
      {"\"none\": \"none\"", "\"none\": 0", "none: 0, expected a text of 1 to 10000 characters or null"},
      {"\"classes\": 2", "\"classes\": 3", "model: classes: 3, expected 2"},
      {"[-1, 0, 1]", "[]", "model: parents: [], expected a list of 1 to 256"},
      {"[-1, 0, 1]", "[-1, 0, 3]", "parents: [-1, 0, 3], expected -1 or joint indices below 3, found 3"},
      {"[-1, 0, 1]", "[-2, 0, 1]", "parents: [-2, 0, 1], expected a list of 1 to 256 whole numbers from -1 to 255"},
      {"[-1, 0, 1]", "[-1, 0, null]", "parents: [-1, 0, null], expected a list of 1 to 256 whole numbers"},
      {"\"channels\": [4]", "\"layers\": [4]", "its network is not a StreamGCN"},
      {"\"channels\": [4]", "\"channels\": [4097]",
       "channels: [4097], expected a list of 1 to 64 whole numbers from 1 to 4096"},
      {"\"channels\": [4]", "\"channels\": [1]", "features: 4, expected 1"},
      {"\"channels\": [4]", "\"channels\": [1, 4]", "channels: [1, 4], expected more than 1, the number of dilations"},
      {"\"channels\": [4]", "\"channels\": []", "channels: [], expected a list of 1 to 64"},
      {"\"kernel\": 2", "\"kernel\": 0", "kernel: 0, expected a whole number from 1 to 64"},
      {"\"kernel\": 2", "\"kernel\": 65", "kernel: 65"},
      {"\"kernel\": 2", "\"kernel\": 2e0", "kernel: 2e0"},
      {"\"dilations\": [1]", "\"dilations\": [0]",
       "dilations: [0], expected a list of 1 to 8 whole numbers from 1 to 256"},
      {"\"dilations\": [1]", "\"dilations\": [1,1,1,1,1,1,1,1,1]", "expected a list of 1 to 8"},
      {"\"features\": 4", "\"features\": 5", "features: 5, expected 4"},
      {"\"delay\": 0", "\"delay\": 1", "delay: 1, expected 0"},
      {"\"state\": 16", "\"state\": 17", "model: state: 17, expected 16"},
      {"\"state\": 16", "\"state\": 99999999999999999999",
       "state: 99999999999999999999, expected a whole number from 1 to 100000000"},
      {"\"receptive_field\": 3", "\"receptive_field\": 2", "receptive_field: 2, expected 3"},
      {"\"weights.safetensors\"", "\"weights\"", "files: weights.safetensors is missing"},
      {"\"size\": 0", "\"size\": -1", "size: -1, expected a whole number from 0"},
      {"\"size\": 0", "\"size\": 4294967297", "size: 4294967297"},
      {"000\"", "00A\"", "expected 64 lower-case hex digits"},
      {"000\"", "00\"", "expected 64 lower-case hex digits"},
      {"\"schema\"", "\"name\"", "duplicate key 'name'"},
  };
  for (const auto& [from, to, part] : cases)
    CHECK_REJECTED(parse_bundle(replaced(tiny_manifest(), from, to), tiny_weights(), "b"), part);
  CHECK_REJECTED(parse_bundle("[]", tiny_weights(), "b"), "b/manifest.json: [], expected a JSON object");
  CHECK_REJECTED(parse_bundle(std::string((4 << 20) + 1, ' '), tiny_weights(), "b"), "expected at most 4194304");
  CHECK_REJECTED(parse_bundle(tiny_manifest(), "", "b"), "b/weights.safetensors: 0 bytes is too short");
}

void the_largest_architecture_does_not_overflow() {
  TinyModel with_kernel_1;
  with_kernel_1.parents.assign(256, -1);
  with_kernel_1.channels.assign(64, 4096);
  with_kernel_1.kernel = 1;
  with_kernel_1.dilations.assign(8, 256);
  const std::string manifest = replaced(tiny_manifest(with_kernel_1), "\"kernel\": 1", "\"kernel\": 64");
  CHECK(parse_bundle(tiny_manifest(with_kernel_1), tiny_weights(), "b").model.state == 1 + 3 * 256);
  // 1 + 3 * 256 + 8 * 64 * 256 * 63 * 256 * 455
  CHECK_REJECTED(parse_bundle(manifest, tiny_weights(), "b"), "a state of 961837794049 floats, at most 4000000");
}

void every_truncated_manifest_is_rejected() {
  const std::string manifest = tiny_manifest(), weights = tiny_weights();
  for (std::size_t size = 0; size + 2 < manifest.size(); ++size)
    CHECK_REJECTED(parse_bundle(manifest.substr(0, size), weights, "b"), "b/manifest.json: not valid JSON");
}

void a_folder_is_read_and_its_weights_are_verified() {
  const Folder folder;
  const std::string path = folder.path.string(), weights = tiny_weights();
  CHECK_REJECTED(read_bundle(path + "/absent"), "absent: not the folder of a bundle");
  CHECK_REJECTED(read_bundle(path), "manifest.json: file is missing from the bundle");
  folder.write("manifest.json",
               tiny_manifest({}, motionrt::sha256_hex(weights.data(), weights.size()), weights.size()));
  CHECK_REJECTED(read_bundle(path), "weights.safetensors: file is missing from the bundle");

  folder.write("weights.safetensors", weights);
  CHECK(read_bundle(path).weights.size() == parse_bundle(tiny_manifest(), weights, "b").weights.size());

  auto tampered = weights;
  tampered.back() ^= 1;
  folder.write("weights.safetensors", tampered);
  CHECK_REJECTED(read_bundle(path), "weights.safetensors: content does not match the sha256 in the manifest");
  folder.write("weights.safetensors", weights.substr(1));
  const std::string size = std::to_string(weights.size()), less = std::to_string(weights.size() - 1);
  CHECK_REJECTED(read_bundle(path), less + " bytes, expected " + size);
  folder.write("weights.safetensors", weights + "x");
  CHECK_REJECTED(read_bundle(path), "bytes, expected ");

  fs::remove(folder.path / "weights.safetensors");
  fs::create_directory(folder.path / "weights.safetensors");
  CHECK_REJECTED(read_bundle(path), "weights.safetensors: not a regular file");
  folder.write("manifest.json", std::string((4 << 20) + 1, ' '));
  CHECK_REJECTED(read_bundle(path), "manifest.json: 4194305 bytes, expected at most 4194304");
}

}  // namespace

int main() {
  a_bundle_is_read();
  a_bundle_may_lack_a_none_label();
  a_model_may_have_a_body();
  a_bundle_may_have_thresholds_by_false_alarms();
  what_was_not_chosen_has_a_default_weight();
  a_field_that_is_wrong_is_named();
  the_largest_architecture_does_not_overflow();
  every_truncated_manifest_is_rejected();
  a_folder_is_read_and_its_weights_are_verified();
  return result();
}
