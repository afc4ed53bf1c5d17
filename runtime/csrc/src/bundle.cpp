#include "bundle.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "json.hpp"
#include "kernels.hpp"
#include "sha256.hpp"

namespace motionrt {

namespace {

constexpr int kSchema = 1;
constexpr const char* kManifest = "manifest.json";
constexpr const char* kWeights = "weights.safetensors";
constexpr std::size_t kMaxManifestBytes = 4 << 20;

constexpr struct {
  const char *name, *json;
} kSchemas[] = {
#include "embedded_schema.inc"
};

struct Manifest {
  Bundle bundle;  // without its weights
  std::string sha256;
  std::int64_t size = 0;
};

// Whether a terminal could take part of the text for a command: controls, line breaks, and marks of direction.
bool has_control(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](std::size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0; };
    if (byte(0) < 0x20 || byte(0) == 0x7F) return true;
    if (byte(0) == 0xC2 && byte(1) >= 0x80 && byte(1) < 0xA0) return true;                      // U+0080 to 9F
    if (byte(0) == 0xE2 && byte(1) == 0x80 && byte(2) >= 0xA8 && byte(2) <= 0xAE) return true;  // U+2028 to 202E
    if (byte(0) == 0xE2 && byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9) return true;  // U+2066 to 2069
  }
  return false;
}

// Whether the value is a string of 1 to `max` characters without control characters.
bool is_text(const JsonValue& value, std::int64_t max) {
  const auto text = value.text();
  if (!text || text->empty() || has_control(*text)) return false;
  const auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  return std::count_if(text->begin(), text->end(), starts_character) <= max;
}

bool is_in_range(const std::optional<double>& number, const JsonValue& rule) {
  return number && *number >= rule.find("min")->number() && *number <= rule.find("max")->number();
}

bool is_integer(const JsonValue& value, const JsonValue& rule) {
  return value.integer() && is_in_range(value.number(), rule);
}

// Access to a JSON object; errors name the field by its path. A typed read needs a field that was checked.
class Fields {
 public:
  Fields(JsonValue object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const std::string& key) const { return object_.find(key).has_value(); }

  JsonValue get(const std::string& key) const {
    const auto value = object_.find(key);
    if (!value) throw_bundle_error(where_, ": ", key, " is missing");
    return *value;
  }

  Fields section(const std::string& key) const {
    const JsonValue value = get(key);
    if (!value.is_object()) unexpected(key, "an object");
    return {value, where_ + ": " + key};
  }

  // Checks the fields of a table of runtime/bundles/recognition_schema.json.
  void check(const char* table) const {
    static const JsonDocument schema(kSchemas[0].json, kSchemas[0].name);
    for (const auto& [path, rule] : schema.root().find(table)->members()) {
      const std::size_t dot = path.find('.');
      if (dot == std::string::npos)
        check(path, rule);
      else
        section(path.substr(0, dot)).check(path.substr(dot + 1), rule);
    }
  }

  std::string text(const char* key) const { return get(key).text().value(); }
  double number(const char* key) const { return get(key).number().value(); }
  std::int64_t integer(const char* key) const { return get(key).integer().value(); }

  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> texts;
    for (const JsonValue& item : get(key).items()) texts.push_back(item.text().value());
    return texts;
  }

  std::vector<int> integers(const char* key) const {
    std::vector<int> integers;
    for (const JsonValue& item : get(key).items()) integers.push_back(static_cast<int>(item.integer().value()));
    return integers;
  }

  std::vector<double> numbers(const char* key) const {
    std::vector<double> numbers;
    for (const JsonValue& item : get(key).items()) numbers.push_back(item.number().value());
    return numbers;
  }

  // A list of `count` lists of `width` probabilities.
  std::vector<std::vector<double>> probabilities(const char* key, std::size_t count, std::size_t width) const {
    std::vector<std::vector<double>> rows;
    for (const JsonValue& row : get(key).items()) {
      rows.emplace_back();
      for (const JsonValue& item : row.items()) rows.back().push_back(item.number().value_or(-1));
    }
    const auto is_valid = [&](const std::vector<double>& row) {
      return row.size() == width && std::all_of(row.begin(), row.end(), [](double p) { return p >= 0 && p <= 1; });
    };
    if (rows.size() != count || !std::all_of(rows.begin(), rows.end(), is_valid))
      unexpected(key, count, " lists of ", width, " numbers from 0 to 1");
    return rows;
  }

  // Checks a value that is determined by others.
  void equals(const char* key, std::int64_t expected) const {
    if (get(key).integer() != expected) unexpected(key, expected);
  }

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    throw_bundle_error(where_, ": ", parts...);
  }

  template <class... Parts>
  [[noreturn]] void unexpected(const std::string& key, const Parts&... expected) const {
    fail(key, ": ", get(key).excerpt(), ", expected ", expected...);
  }

 private:
  void check(const std::string& key, const JsonValue& rule) const {
    if (rule.find("optional") && !has(key)) return;
    const JsonValue value = get(key);
    const std::string type = rule.find("type")->text().value();
    const auto limit = [&](const char* name) { return rule.find(name)->source(); };
    const auto all_items = [&](auto is_valid) {
      const auto items = value.items();
      return !items.empty() && static_cast<std::int64_t>(items.size()) <= rule.find("max_items")->integer() &&
             std::all_of(items.begin(), items.end(), is_valid);
    };
    if (type == "text" || type == "text or null") {
      const bool may_be_null = type != "text";
      if (!(may_be_null && value.is_null()) && !is_text(value, rule.find("max")->integer().value()))
        unexpected(key, "a text of 1 to ", limit("max"), " characters", may_be_null ? " or null" : "");
    } else if (type == "texts") {
      if (!all_items([&](const JsonValue& item) { return is_text(item, rule.find("max")->integer().value()); }))
        unexpected(key, "a list of 1 to ", limit("max_items"), " texts of 1 to ", limit("max"), " characters");
    } else if (type == "number") {
      if (!is_in_range(value.number(), rule)) unexpected(key, "a number from ", limit("min"), " to ", limit("max"));
    } else if (type == "numbers") {
      if (!all_items([&](const JsonValue& item) { return is_in_range(item.number(), rule); }))
        unexpected(key, "a list of 1 to ", limit("max_items"), " numbers from ", limit("min"), " to ", limit("max"));
    } else if (type == "integer") {
      if (!is_integer(value, rule)) unexpected(key, "a whole number from ", limit("min"), " to ", limit("max"));
    } else if (type == "integers") {
      if (!all_items([&](const JsonValue& item) { return is_integer(item, rule); }))
        unexpected(key, "a list of 1 to ", limit("max_items"), " whole numbers from ", limit("min"), " to ",
                   limit("max"));
    } else if (type == "boolean") {
      if (!value.boolean()) unexpected(key, "true or false");
    } else if (type == "name") {
      const std::string name = value.text().value_or("");
      const auto is_plain = [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
      };
      if (name.empty() || name.size() > 128 || name[0] == '.' || !std::all_of(name.begin(), name.end(), is_plain))
        unexpected(key, "a plain name of letters, digits, '.', '_' and '-'");
    } else {  // sha256
      const std::string hash = value.text().value_or("");
      if (hash.size() != 64 || hash.find_first_not_of("0123456789abcdef") != std::string::npos)
        unexpected(key, "64 lower-case hex digits");
    }
  }

  JsonValue object_;
  std::string where_;
};

StreamGCNConfig read_model(const Fields& fields, const std::string& where) {
  if (!fields.has("channels"))
    throw_bundle_error(
        where, ": model has no channels: its network is not a StreamGCN, the only one that the native engine runs");
  fields.check("stream_gcn");
  StreamGCNConfig model;
  model.parents = fields.integers("parents");
  for (const int parent : model.parents)
    if (parent >= model.joints())
      fields.unexpected("parents", "-1 or joint indices below ", model.joints(), ", found ", parent);
  model.fps = fields.number("fps");
  model.channels = fields.integers("channels");
  model.kernel = static_cast<int>(fields.integer("kernel"));
  model.dilations = fields.integers("dilations");
  if (fields.has("body")) model.body = static_cast<int>(fields.integer("body"));
  if (fields.has("body_blocks")) model.body_blocks = static_cast<int>(fields.integer("body_blocks"));
  if (!model.body && model.body_blocks) fields.unexpected("body_blocks", "0 without a body");
  model.features = model.body ? model.body : model.channels.back();
  fields.equals("features", model.features);
  fields.equals("delay", 0);

  // With the limits above, these cannot overflow.
  std::int64_t state = 1 + 3 * model.joints(), reach = 0;
  for (const int dilation : model.dilations) {
    const std::int64_t past = dilation * (model.kernel - 1);
    reach = std::max(reach, past);
    for (const int channels : model.channels) state += past * model.joints() * model.width(channels);
    state += past * model.body_blocks * model.width(model.body);
  }
  const auto too_narrow = [&](int channels) { return model.width(channels) < 1; };
  if (std::any_of(model.channels.begin(), model.channels.end(), too_narrow))
    fields.unexpected("channels", "more than ", model.dilations.size(), ", the number of dilations, each");
  if (model.body && too_narrow(model.body))
    fields.unexpected("body", "more than ", model.dilations.size(), ", the number of dilations");
  if (state > kMaxState)
    throw_bundle_error(where, ": model: a state of ", state, " floats, at most ", kMaxState, " are allowed");
  model.state = static_cast<int>(state);
  fields.equals("state", state);
  model.receptive_field =
      static_cast<int>(2 + reach * (static_cast<std::int64_t>(model.channels.size()) + model.body_blocks));
  fields.equals("receptive_field", model.receptive_field);
  return model;
}

MatchingConfig read_matching(const Fields& top, const StreamGCNConfig& model, int labels) {
  const Fields matcher = top.section("model").section("matcher"), matching = top.section("matching");
  const bool has_space = matcher.has("parts");
  matcher.check(has_space ? "space" : "matcher");
  matching.check("matching");
  MatchingConfig m;
  const auto integer = [](const Fields& fields, const char* key) { return static_cast<int>(fields.integer(key)); };
  m.feature = integer(matcher, "feature");
  if (has_space) {
    m.parts = matcher.integers("parts");
    m.shares = matcher.numbers("shares");
    if (m.shares.size() != m.parts.size()) matcher.unexpected("shares", m.parts.size(), " numbers, one for each part");
  } else {
    matching.check("noise");
    m.width = integer(matcher, "width");
    m.depth = integer(matcher, "depth");
    m.heads = integer(matcher, "heads");
    m.tokens = integer(matcher, "tokens");
    if (m.width % kLineFloats != 0 || m.width % m.heads != 0)
      matcher.unexpected("width", "a multiple of ", kLineFloats, " and of heads, ", m.heads);
    m.signal = matching.number("signal");
    m.noises = integer(matching, "noises");
  }
  m.texts = integer(matching, "texts");
  m.backgrounds = integer(matching, "backgrounds");
  if (matching.has("examples")) {
    m.examples = matching.integers("examples");
    m.prototypes = integer(matching, "prototypes");
  }
  const int none = labels - 1;
  std::vector<bool> is_described(labels, false);
  for (int label = 0; label < std::min(m.texts, none); ++label) is_described[label] = true;
  for (const int label : m.examples) {
    if (label >= labels) matching.unexpected("examples", "labels below ", labels, ", found ", label);
    is_described[label] = true;
  }
  if (m.texts > none || !std::all_of(is_described.begin(), is_described.end() - 1, [](bool is) { return is; }))
    matching.unexpected("texts", "that of each of ", none, " labels, or examples of it");
  if (matching.has("encoder_sha256")) m.encoder = matching.text("encoder_sha256");
  m.scale = matching.number("scale");
  m.none = matching.number("none");
  m.prototype_scale = matching.number("prototype_scale");
  m.prototype_offset = matching.number("prototype_offset");
  m.window = std::max(1, static_cast<int>(std::lround(matching.number("window_s") * model.fps)));
  m.interval = std::max(1, static_cast<int>(std::lround(matching.number("every_s") * model.fps)));
  if (static_cast<std::int64_t>(m.window) * model.features > kMaxState)
    matching.unexpected("window_s", "at most ", kMaxState, " floats in ", m.window, " frames");
  return m;
}

Config read_session(const Fields& top) {
  Config session;
  session.rate_hz = top.number("fps");
  const Fields frontend = top.section("frontend"), decision = top.section("decision");
  session.facing_s = frontend.number("facing_s");
  session.reach_m = frontend.number("reach_m");
  session.max_gap_s = frontend.number("max_gap_s");
  if (frontend.has("bones")) session.bones = frontend.numbers("bones");
  if (frontend.has("flat")) session.flat = frontend.get("flat").boolean().value();
  session.temperature = decision.number("temperature");
  session.smooth_s = decision.number("smooth_s");
  session.on = decision.number("on");
  session.off = decision.number("off");
  session.hold_s = decision.number("hold_s");
  if (decision.has("others")) session.others = decision.number("others");
  if (session.off > session.on) top.fail("decision: off ", session.off, " is above on ", session.on);
  return session;
}

// Index of the label that means no action; -1 if there is none.
int read_none(const Fields& top, const std::vector<std::string>& labels) {
  auto sorted = labels;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) top.fail("labels: a label occurs twice");
  if (top.get("none").is_null()) return -1;
  const auto none = std::find(labels.begin(), labels.end(), top.text("none"));
  if (none == labels.end()) top.fail("none: ", single_quoted(top.text("none")), " is not one of the labels");
  if (labels.size() == 1) top.fail("labels: no label other than ", single_quoted(*none));
  return static_cast<int>(none - labels.begin());
}

// Thresholds by false alarms, if the manifest has them.
Alarms read_alarms(const Fields& decision, const std::vector<std::string>& labels) {
  if (!decision.has("alarms")) return {};
  const Fields fields = decision.section("alarms");
  fields.check("alarms");
  Alarms alarms;
  alarms.per_minute = fields.numbers("per_minute");
  const auto& rates = alarms.per_minute;
  if (std::adjacent_find(rates.begin(), rates.end(), std::greater_equal<>()) != rates.end())
    fields.unexpected("per_minute", "rising numbers");
  alarms.on = fields.probabilities("on", rates.size(), labels.size());
  alarms.off = fields.probabilities("off", rates.size(), labels.size());
  for (std::size_t b = 0; b < rates.size(); ++b)
    for (std::size_t c = 0; c < labels.size(); ++c) {
      const double on = alarms.on[b][c], off = alarms.off[b][c];
      if (off > on) fields.fail("off ", off, " is above on ", on, " of label ", single_quoted(labels[c]));
      if (b > 0 && on > alarms.on[b - 1][c])
        fields.fail("on ", on, " follows ", alarms.on[b - 1][c], " of label ", single_quoted(labels[c]),
                    ", expected that it does not rise with per_minute");
    }
  if (fields.has("default")) {
    alarms.normal = fields.number("default");
    if (alarms.normal < rates.front() || alarms.normal > rates.back())
      fields.fail("default: ", alarms.normal, ", expected ", rates.front(), " to ", rates.back(),
                  ", the range of per_minute");
  }
  return alarms;
}

Manifest parse_manifest(std::string_view text, const std::string& where) {
  if (text.size() > kMaxManifestBytes)
    throw_bundle_error(where, ": ", text.size(), " bytes, expected at most ", kMaxManifestBytes);
  const JsonDocument document(text, where);
  if (!document.root().is_object())
    throw_bundle_error(where, ": ", document.root().excerpt(), ", expected a JSON object");
  const Fields top(document.root(), where);
  if (top.get("schema").integer() != kSchema)
    top.fail("schema ", top.get("schema").excerpt(), ", this version of motionrt reads schema ", kSchema);
  const bool is_compiled = top.get("task").text() == "compiled";
  if (!is_compiled && top.get("task").text() != "recognition") top.unexpected("task", "recognition or compiled");
  top.check("recognition");

  Manifest manifest;
  Bundle& bundle = manifest.bundle;
  bundle.name = top.text("name");
  bundle.license = top.text("license");
  bundle.layout = top.text("layout");
  bundle.labels = top.texts("labels");
  bundle.session = read_session(top);
  bundle.session.none = read_none(top, bundle.labels);
  bundle.alarms = read_alarms(top.section("decision"), bundle.labels);
  if (top.has("flat_model")) bundle.flat_model = top.text("flat_model");
  if (bundle.alarms.normal > 0)
    bundle.session.by_label = thresholds_at(bundle.alarms, bundle.alarms.normal, bundle.name);
  const Fields model = top.section("model");
  bundle.model = read_model(model, where);
  bundle.model.classes = static_cast<int>(bundle.labels.size());
  model.equals("classes", bundle.model.classes);
  if (bundle.model.fps != bundle.session.rate_hz)
    model.unexpected("fps", "that of the bundle, ", bundle.session.rate_hz);
  bundle.session.joints = bundle.model.joints();
  const std::size_t bones = bundle.session.bones.size();
  if (bones > 0 && static_cast<int>(bones) != bundle.session.joints)
    top.fail("frontend: bones: ", bones, " numbers, expected one for each of ", bundle.session.joints, " joints");
  bundle.session.labels = bundle.model.classes;
  if (is_compiled) {
    if (bundle.session.none != bundle.session.labels - 1) top.unexpected("none", "the last label");
    bundle.matching = read_matching(top, bundle.model, bundle.session.labels);
    bundle.model.classes = 0;
  }

  const Fields weights = top.section("files").section(kWeights);
  weights.check("file");
  manifest.size = weights.integer("size");
  manifest.sha256 = weights.text("sha256");
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

Bundle with_weights(Manifest manifest, std::string_view weights, const std::string& where) {
  if (static_cast<std::int64_t>(weights.size()) != manifest.size)
    throw_bundle_error(where, ": ", weights.size(), " bytes, expected ", manifest.size);
  if (sha256_hex(weights.data(), weights.size()) != manifest.sha256)
    throw_bundle_error(where, ": content does not match the sha256 in the manifest");
  manifest.bundle.weights = parse_safetensors(weights, where);
  return std::move(manifest.bundle);
}

}  // namespace

Bundle parse_bundle(std::string_view manifest, std::string_view weights, const std::string& where) {
  Bundle bundle = parse_manifest(manifest, where + "/" + kManifest).bundle;
  bundle.weights = parse_safetensors(weights, where + "/" + kWeights);
  return bundle;
}

Bundle parse_checked_bundle(std::string_view manifest, std::string_view weights, const std::string& where) {
  return with_weights(parse_manifest(manifest, where + "/" + kManifest), weights, where + "/" + kWeights);
}

Bundle read_bundle(const std::string& folder) {
  const std::filesystem::path path(folder);
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) throw_bundle_error(folder, ": not the folder of a bundle");
  Manifest manifest =
      parse_manifest(read_file(path / kManifest, kMaxManifestBytes, false), (path / kManifest).string());
  const std::string weights = read_file(path / kWeights, static_cast<std::uintmax_t>(manifest.size), true);
  return with_weights(std::move(manifest), weights, (path / kWeights).string());
}

void check_flat_bundle(const Bundle& bundle, const Bundle& flat, const std::string& where) {
  const Config &ours = bundle.session, &theirs = flat.session;
  if (bundle.matching || flat.matching)
    throw_bundle_error(where, ": a model with compiled labels and one for 2-D poses cannot be combined");
  if (!theirs.flat || flat.layout != bundle.layout || theirs.rate_hz != ours.rate_hz || theirs.bones != ours.bones ||
      theirs.reach_m != ours.reach_m || theirs.max_gap_s != ours.max_gap_s || theirs.temperature != ours.temperature ||
      theirs.smooth_s != ours.smooth_s || theirs.hold_s != ours.hold_s || theirs.others != ours.others)
    throw_bundle_error(where, ": does not treat 2-D poses as ", bundle.name, " treats 3-D ones");
  if (flat.labels != bundle.labels || theirs.none != ours.none)
    throw_bundle_error(where, ": does not have the labels of ", bundle.name);
}

std::optional<Bundle> read_flat_bundle(const Bundle& bundle, const std::string& folder) {
  std::error_code error;
  const auto path = std::filesystem::canonical(folder, error).parent_path() / bundle.flat_model;
  if (bundle.flat_model.empty() || error || !std::filesystem::is_directory(path, error)) return std::nullopt;
  Bundle flat = read_bundle(path.string());
  check_flat_bundle(bundle, flat, path.string());
  return flat;
}

}  // namespace motionrt
