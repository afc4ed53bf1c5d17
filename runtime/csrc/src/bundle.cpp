#include "bundle.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "json.hpp"
#include "sha256.hpp"

namespace motionrt {

namespace {

constexpr int kSchema = 1;
constexpr const char* kManifest = "manifest.json";
constexpr const char* kWeights = "weights.safetensors";
constexpr std::size_t kMaxManifestBytes = 4 << 20;
constexpr std::int64_t kMaxFileBytes = std::int64_t{4} << 30;
constexpr std::size_t kMaxLabels = 10'000;
constexpr std::ptrdiff_t kMaxText = 10'000;

struct Manifest {
  Bundle bundle;  // without its weights
  std::string sha256;
  std::int64_t size = 0;
};

bool is_valid_text(const std::optional<std::string>& text) {
  if (!text || text->empty()) return false;
  const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  return std::count_if(text->begin(), text->end(), starts_character) <= kMaxText;
}

// Typed access to a JSON object; errors name the field by its path.
class Fields {
 public:
  Fields(JsonValue object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const char* key) const { return object_.find(key).has_value(); }

  JsonValue get(const char* key) const {
    const auto value = object_.find(key);
    if (!value) throw_bundle_error(where_, ": ", key, " is missing");
    return *value;
  }

  Fields section(const char* key) const {
    const JsonValue value = get(key);
    if (!value.is_object()) unexpected(key, "an object");
    return {value, where_ + ": " + key};
  }

  std::string text(const char* key) const {
    auto text = get(key).text();
    if (!is_valid_text(text)) unexpected(key, "a text of 1 to ", kMaxText, " characters");
    return std::move(*text);
  }

  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> texts;
    for (const JsonValue& item : items(key, kMaxLabels, "texts")) {
      auto text = item.text();
      if (!is_valid_text(text)) unexpected(key, "texts of 1 to ", kMaxText, " characters");
      texts.push_back(std::move(*text));
    }
    return texts;
  }

  double number(const char* key, double low, double high) const {
    const auto number = get(key).number();
    if (!number || *number < low || *number > high) unexpected(key, "a number from ", low, " to ", high);
    return *number;
  }

  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const {
    const auto number = get(key).integer();
    if (!number || *number < low || *number > high) unexpected(key, "a whole number from ", low, " to ", high);
    return *number;
  }

  // Checks a value that is determined by others.
  void equals(const char* key, std::int64_t expected) const {
    if (get(key).integer() != expected) unexpected(key, expected);
  }

  std::vector<int> integers(const char* key, std::size_t most, int low, int high) const {
    std::vector<int> integers;
    for (const JsonValue& item : items(key, most, "whole numbers")) {
      const auto number = item.integer();
      if (!number || *number < low || *number > high) unexpected(key, "whole numbers from ", low, " to ", high);
      integers.push_back(static_cast<int>(*number));
    }
    return integers;
  }

  template <class... Parts>
  [[noreturn]] void unexpected(const char* key, const Parts&... expected) const {
    throw_bundle_error(where_, ": ", key, ": ", get(key).excerpt(), ", expected ", expected...);
  }

 private:
  std::vector<JsonValue> items(const char* key, std::size_t most, const char* kind) const {
    std::vector<JsonValue> items = get(key).items();
    if (items.empty() || items.size() > most) unexpected(key, "a list of 1 to ", most, " ", kind);
    return items;
  }

  JsonValue object_;
  std::string where_;
};

StreamGCNConfig read_model(const Fields& fields, const std::string& where) {
  if (!fields.has("channels"))
    throw_bundle_error(
        where, ": model has no channels: its network is not a StreamGCN, the only one that the native engine runs");
  StreamGCNConfig model;
  model.parents = fields.integers("parents", kMaxJoints, -1, kMaxJoints - 1);
  for (const int parent : model.parents)
    if (parent >= model.joints())
      fields.unexpected("parents", "-1 or joint indices below ", model.joints(), ", found ", parent);
  model.fps = fields.number("fps", 1, kMaxRateHz);
  model.channels = fields.integers("channels", kMaxBlocks, 1, kMaxChannels);
  model.kernel = static_cast<int>(fields.integer("kernel", 1, kMaxKernel));
  model.dilations = fields.integers("dilations", kMaxBranches, 1, kMaxDilation);
  model.features = model.channels.back();
  fields.equals("features", model.features);
  fields.equals("delay", 0);

  // With the limits above, these cannot overflow.
  std::int64_t state = 1 + 3 * model.joints(), reach = 0;
  for (const int dilation : model.dilations) {
    reach = std::max<std::int64_t>(reach, dilation * (model.kernel - 1));
    for (std::size_t block = 0; block < model.channels.size(); ++block)
      state += std::int64_t{dilation} * (model.kernel - 1) * model.joints() * model.width(block);
  }
  for (std::size_t block = 0; block < model.channels.size(); ++block)
    if (model.width(block) < 1)
      fields.unexpected("channels", "more than ", model.dilations.size(), ", the number of dilations, each");
  if (state > kMaxState)
    throw_bundle_error(where, ": model: a state of ", state, " floats, at most ", kMaxState, " are allowed");
  model.state = static_cast<int>(state);
  fields.equals("state", state);
  model.receptive_field = static_cast<int>(2 + reach * static_cast<std::int64_t>(model.channels.size()));
  fields.equals("receptive_field", model.receptive_field);
  return model;
}

Config read_session(const Fields& top) {
  Config session;
  session.rate_hz = top.number("fps", 1, kMaxRateHz);
  const Fields frontend = top.section("frontend"), decision = top.section("decision");
  session.facing_s = frontend.number("facing_s", 0, 3600);
  session.reach_m = frontend.number("reach_m", 0.01, kMaxReachM);
  session.max_gap_s = frontend.number("max_gap_s", 0.001, kMaxGapS);
  session.temperature = decision.number("temperature", 1e-3, 1e3);
  session.smooth_s = decision.number("smooth_s", 0, 3600);
  session.on = decision.number("on", 0, 1);
  session.off = decision.number("off", 0, session.on);
  session.hold_s = decision.number("hold_s", 0, kMaxGapS);
  return session;
}

// Index of the label that means no action; -1 if there is none.
int read_none(const Fields& top, const std::vector<std::string>& labels) {
  auto sorted = labels;
  std::sort(sorted.begin(), sorted.end());
  if (const auto duplicate = std::adjacent_find(sorted.begin(), sorted.end()); duplicate != sorted.end())
    top.unexpected("labels", "different texts, found ", single_quoted(*duplicate), " twice");
  if (top.get("none").is_null()) return -1;
  const auto none = std::find(labels.begin(), labels.end(), top.text("none"));
  if (none == labels.end()) top.unexpected("none", "null or one of the labels");
  if (labels.size() == 1) top.unexpected("labels", "a label besides ", single_quoted(*none));
  return static_cast<int>(none - labels.begin());
}

Manifest parse_manifest(std::string_view text, const std::string& where) {
  if (text.size() > kMaxManifestBytes)
    throw_bundle_error(where, ": ", text.size(), " bytes, expected at most ", kMaxManifestBytes);
  const JsonDocument document(text, where);
  if (!document.root().is_object())
    throw_bundle_error(where, ": ", document.root().excerpt(), ", expected a JSON object");
  const Fields top(document.root(), where);
  top.equals("schema", kSchema);
  if (top.text("task") != "recognition") top.unexpected("task", "recognition");

  Manifest manifest;
  Bundle& bundle = manifest.bundle;
  bundle.name = top.text("name");
  bundle.license = top.text("license");
  bundle.layout = top.text("layout");
  bundle.labels = top.texts("labels");
  bundle.session = read_session(top);
  bundle.session.none = read_none(top, bundle.labels);
  const Fields model = top.section("model");
  bundle.model = read_model(model, where);
  bundle.model.classes = static_cast<int>(bundle.labels.size());
  model.equals("classes", bundle.model.classes);
  if (bundle.model.fps != bundle.session.rate_hz)
    model.unexpected("fps", "that of the bundle, ", bundle.session.rate_hz);
  bundle.session.joints = bundle.model.joints();
  bundle.session.labels = bundle.model.classes;

  const Fields weights = top.section("files").section(kWeights);
  manifest.size = weights.integer("size", 0, kMaxFileBytes);
  manifest.sha256 = weights.text("sha256");
  if (manifest.sha256.size() != 64 || manifest.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)
    weights.unexpected("sha256", "64 lower-case hex digits");
  return manifest;
}

// Content of a regular file of at most, or exactly, `limit` bytes.
std::string read_file(const std::filesystem::path& path, std::uintmax_t limit, bool exactly) {
  const std::string where = path.string();
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found)
    throw_bundle_error(where, ": file is missing from the bundle");
  if (error) throw_bundle_error(where, ": cannot be read (", error.message(), ")");
  if (!std::filesystem::is_regular_file(status)) throw_bundle_error(where, ": not a regular file");
  const auto size = std::filesystem::file_size(path, error);
  if (error) throw_bundle_error(where, ": cannot be read (", error.message(), ")");
  if (exactly ? size != limit : size > limit)
    throw_bundle_error(where, ": ", size, " bytes, expected ", exactly ? "" : "at most ", limit);
  std::string data(static_cast<std::size_t>(size), '\0');
  std::ifstream stream(path, std::ios::binary);
  if (!stream.read(data.data(), static_cast<std::streamsize>(size))) throw_bundle_error(where, ": cannot be read");
  return data;
}

}  // namespace

Bundle parse_bundle(std::string_view manifest, std::string_view weights, const std::string& where) {
  Bundle bundle = parse_manifest(manifest, where + "/" + kManifest).bundle;
  bundle.weights = parse_safetensors(weights, where + "/" + kWeights);
  return bundle;
}

Bundle read_bundle(const std::string& folder) {
  const std::filesystem::path path(folder);
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) throw_bundle_error(folder, ": not the folder of a bundle");
  Manifest manifest =
      parse_manifest(read_file(path / kManifest, kMaxManifestBytes, false), (path / kManifest).string());
  const std::string weights = read_file(path / kWeights, static_cast<std::uintmax_t>(manifest.size), true);
  const std::string where = (path / kWeights).string();
  if (sha256_hex(weights.data(), weights.size()) != manifest.sha256)
    throw_bundle_error(where, ": content does not match the sha256 in the manifest");
  manifest.bundle.weights = parse_safetensors(weights, where);
  return std::move(manifest.bundle);
}

}  // namespace motionrt
