// Fuzz target: any content of the two files of a bundle is read or rejected with a BundleError.
//
// An input is [length of the manifest, 4 bytes little-endian][manifest][weights]. Built with
// -fsanitize=fuzzer and MOTIONRT_LIBFUZZER defined, libFuzzer generates the inputs; otherwise the program
// does, from tiny bundles and those on the command line:
//   fuzz_bundle SECONDS [--seed N] [bundle folder ...]
//   fuzz_bundle fuzz_bundle.input        runs the input saved by a crash
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bundle.hpp"
#include "stream_gcn.hpp"

namespace {

void expect(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "fuzz_bundle: %s\n", what);
  std::abort();
}

// Uses a bundle as an engine does, and checks its invariants.
void use(const motionrt::Bundle& bundle) {
  const auto& model = bundle.model;
  const int V = model.joints();
  expect(V >= 1 && V <= motionrt::kMaxJoints && V == bundle.session.joints, "joints");
  expect(model.state >= 1 + 3 * V && model.state <= motionrt::kMaxState, "state");
  expect(model.classes == bundle.session.labels && model.classes == static_cast<int>(bundle.labels.size()), "labels");
  expect(bundle.session.none >= -1 && bundle.session.none < model.classes, "none");
  for (const int parent : model.parents) expect(parent >= -1 && parent < V, "parents");
  for (const int channels : model.channels) expect(model.width(channels) >= 1, "width");

  const auto network = std::make_shared<motionrt::StreamGCN>(bundle);
  motionrt::Streams streams(network, 2);
  const int slots[] = {1, 0};
  std::vector<float> frames(2 * 3 * V), logits(2 * model.classes), features(2 * model.features);
  for (int step = 0; step < 3; ++step) {
    for (std::size_t i = 0; i < frames.size(); ++i) frames[i] = static_cast<float>((i + step) % 7) * 0.1f;
    streams.step(2 - step % 2, slots, frames.data(), logits.data(), features.data());
  }
  streams.begin(1);
  streams.step(2, slots, frames.data(), logits.data(), nullptr);
}

// Runs an input; returns the error message, or nothing.
std::string outcome(std::string_view input) {
  constexpr std::size_t kLengthBytes = 4;
  if (input.size() < kLengthBytes) return "";
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(input[i])); };
  const std::size_t length = byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
  input.remove_prefix(kLengthBytes);
  std::string message;
  try {
    use(motionrt::parse_bundle(input.substr(0, length), input.substr(std::min(length, input.size())), "b"));
  } catch (const motionrt::BundleError& error) {
    message = error.what();
  } catch (const std::invalid_argument& error) {
    message = error.what();
  }
  expect(message.size() < 600 && message.find('\n') == std::string::npos, "a message is not one short line");
  return message;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  outcome({reinterpret_cast<const char*>(data), size});
  return 0;
}

#ifndef MOTIONRT_LIBFUZZER

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <vector>

#include "json.hpp"
#include "tiny_bundle.hpp"

namespace {

constexpr const char* kLeft = "fuzz_bundle.input";  // written by a crash
constexpr unsigned kMostSeconds = 10;               // per input

// The current input, for the parent process to save.
struct Kept {
  std::size_t size;
  char bytes[16 << 20];

  void keep(const std::string& input) {
    size = std::min(input.size(), sizeof bytes);
    std::memcpy(bytes, input.data(), size);
  }
};

struct Input {
  std::string manifest, header, data;  // header: JSON of the weights, data: their bytes
  std::uint64_t header_bytes;          // as stated in the file

  std::string bytes() const {
    return little_endian(manifest.size(), 4) + manifest + little_endian(header_bytes, 8) + header + data;
  }
};

Input make_input(std::string manifest, const std::string& weights) {
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, weights.data(), sizeof header_bytes);
  const auto size = static_cast<std::size_t>(header_bytes);
  return {std::move(manifest), weights.substr(8, size), weights.substr(8 + size), header_bytes};
}

std::string read_all(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error(path.string() + ": cannot be read");
  return {std::istreambuf_iterator<char>(stream), {}};
}

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  TinyModel model() {
    TinyModel model;
    model.parents.assign(1 + below(4), -1);
    for (std::size_t i = 1; i < model.parents.size(); ++i) model.parents[i] = static_cast<int>(below(i));
    model.dilations.assign(1 + below(3), 1);
    for (int& dilation : model.dilations) dilation = 1 + static_cast<int>(below(4));
    model.channels.assign(1 + below(3), 0);
    for (int& channels : model.channels) channels = static_cast<int>(model.dilations.size() + 1 + below(8));
    model.kernel = 1 + static_cast<int>(below(4));
    model.classes = 2 + static_cast<int>(below(4));
    return model;
  }

  // other: an input to splice from.
  void mutate(Input& input, const Input& other) {
    const auto rounds = 1 + below(3);
    for (std::size_t i = 0; i < rounds; ++i) {
      switch (below(8)) {
        case 0:
          input.header_bytes = header_length(input);
          break;
        case 1:
          mutate_bytes(input.data, other.data);
          break;
        case 2:
          special_float(input.data);
          break;
        case 3:
        case 4:
          mutate_header(input, other);
          break;
        default:
          mutate_json(input.manifest, other.manifest);
      }
    }
  }

 private:
  std::uint64_t header_length(const Input& input) {
    const std::uint64_t lengths[] = {0,
                                     1,
                                     8,
                                     input.header.size() - 1,
                                     input.header.size() + 1,
                                     input.header.size() + input.data.size(),
                                     std::uint64_t{1} << 24,
                                     (std::uint64_t{1} << 24) + 1,
                                     std::uint64_t{1} << 32,
                                     std::uint64_t{1} << 63,
                                     ~std::uint64_t{0},
                                     ~std::uint64_t{0} - 7};
    return lengths[below(std::size(lengths))];
  }

  void mutate_header(Input& input, const Input& other) {
    mutate_json(input.header, other.header);
    if (below(8) > 0) input.header = aligned(input.header);
    if (below(8) > 0) input.header_bytes = input.header.size();
  }

  void special_float(std::string& data) {
    static const std::string kFloats[] = {std::string("\0\0\xc0\x7f", 4), std::string("\0\0\x80\xff", 4),
                                          "\xff\xff\x7f\x7f", std::string("\1\0\0\0", 4)};
    if (data.size() >= 4) data.replace(below(data.size() / 4) * 4, 4, kFloats[below(std::size(kFloats))]);
  }

  void mutate_bytes(std::string& text, const std::string& other) {
    const std::size_t at = below(text.size()), size = 1 + below(16);
    switch (below(7)) {
      case 0:
      case 1:
        if (!text.empty()) text[at] = static_cast<char>(text[at] ^ 1 << below(8));
        break;
      case 2:
        if (!text.empty()) text[at] = static_cast<char>(below(256));
        break;
      case 3:
        text.resize(at);
        break;
      case 4:
        text.erase(at, size);
        break;
      case 5:
        text.insert(at, text.substr(below(text.size()), size));
        break;
      default:
        text.insert(at, other.substr(below(other.size()), 4 * size));
    }
  }

  void mutate_json(std::string& text, const std::string& other) {
    std::vector<Span> spans, others;
    try {
      spans = values(text);
      others = values(other);
    } catch (const motionrt::BundleError&) {
      return mutate_bytes(text, other);
    }
    const Span span = spans[below(spans.size())], from = spans[below(spans.size())],
               foreign = others[below(others.size())];
    const auto put = [&](const std::string& value) { text.replace(span.begin, span.end - span.begin, value); };
    switch (below(9)) {
      case 0:
        return mutate_bytes(text, other);
      case 1:
        return put(text.substr(from.begin, from.end - from.begin));
      case 2:
        return put(other.substr(foreign.begin, foreign.end - foreign.begin));
      case 3:
        return put("[" + text.substr(span.begin, span.end - span.begin) + "]");
      case 4:
        return put(std::string(below(200), '[') + "1");
      case 5: {  // duplicate the member or item
        const std::string again = text.substr(span.member, span.end - span.member);
        text.insert(span.end, "," + again);
        return;
      }
      case 6: {  // delete the member or item and its comma
        std::size_t begin = span.member, end = span.end;
        if (end < text.size() && text[end] == ',')
          ++end;
        else if (const auto comma = text.find_last_not_of(" \n", begin - 1);
                 begin > 0 && comma != std::string::npos && text[comma] == ',')
          begin = comma;
        text.erase(begin, end - begin);
        return;
      }
      default:
        return put(nasty(text.substr(span.begin, span.end - span.begin)));
    }
  }

  std::string nasty(const std::string& value) {
    static const std::string kNasty[] = {"0",
                                         "-0",
                                         "1",
                                         "-1",
                                         "2",
                                         "3",
                                         "4",
                                         "255",
                                         "256",
                                         "257",
                                         "4096",
                                         "4097",
                                         "65536",
                                         "2147483647",
                                         "2147483648",
                                         "-2147483649",
                                         "4294967296",
                                         "9223372036854775807",
                                         "9223372036854775808",
                                         "18446744073709551615",
                                         "18446744073709551616",
                                         "999999999999999999",
                                         "1e400",
                                         "-1e400",
                                         "1e-400",
                                         "1e308",
                                         "0.0",
                                         "1.0",
                                         "1e2",
                                         "1E+2",
                                         "4e0",
                                         "NaN",
                                         "Infinity",
                                         "01",
                                         "0x10",
                                         "+1",
                                         ".5",
                                         "1.",
                                         "null",
                                         "true",
                                         "\"\"",
                                         "\"F16\"",
                                         "\"I64\"",
                                         "\"\\ud800\"",
                                         "\"\\u0000\"",
                                         "\"\xff\"",
                                         "[]",
                                         "{}",
                                         "[0,0]",
                                         "[1,1,1,1,1,1,1,1,1]"};
    const bool digits =
        !value.empty() && value.size() < 9 && value.find_first_not_of("0123456789") == std::string::npos;
    if (digits && below(2) == 0) return std::to_string(std::stoi(value) + static_cast<int>(below(9)) - 4);
    return kNasty[below(std::size(kNasty))];
  }

  // Range of a value in a text; an object member starts with its key.
  struct Span {
    std::size_t member, begin, end;
  };

  static std::vector<Span> values(const std::string& text) {
    const motionrt::JsonDocument document(text, "seed");
    std::vector<Span> spans;
    collect(document.root(), text, spans);
    return spans;
  }

  static void collect(const motionrt::JsonValue& value, const std::string& text, std::vector<Span>& spans) {
    const auto begin = static_cast<std::size_t>(value.source().data() - text.data());
    spans.push_back({begin, begin, begin + value.source().size()});
    for (const auto& item : value.items()) collect(item, text, spans);
    for (const auto& [key, member] : value.members()) {
      const std::size_t index = spans.size();
      collect(member, text, spans);
      const std::size_t quote = text.rfind("\"" + key + "\"", spans[index].begin);
      if (quote != std::string::npos) spans[index].member = quote;
    }
  }

  std::mt19937_64 random_;
};

// A message without values of the input: the number of different ones measures how much code is reached.
std::string kind(const std::string& message) {
  std::string kind;
  bool quoted = false;
  for (const char c : message) {
    if (c == '\'') quoted = !quoted;
    if (!quoted && (c < '0' || c > '9')) kind += c;
  }
  if (const auto value = kind.find_first_of("[{\""); value != std::string::npos)
    kind.erase(value, std::min(kind.find(", expected", value), kind.find(" of ", value)) - value);
  if (const auto expected = kind.find(", expected"); expected != std::string::npos) {
    const auto value = kind.rfind(": ", expected);
    if (value != std::string::npos) kind.erase(value, expected - value);
  }
  return kind;
}

// Runs mutations of `bundles` and tiny inputs for this many seconds.
void fuzz(double seconds, unsigned seed, const std::vector<Input>& bundles, Kept& kept) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  Mutator mutator(seed);
  std::vector<Input> tiny;
  for (int i = 0; i < 64; ++i) {
    const TinyModel model = mutator.model();
    tiny.push_back(make_input(tiny_manifest(model), tiny_weights(model)));
  }
  std::set<std::string> kinds;
  std::size_t executions = 0, accepted = 0;
  double slowest_s = 0;
  const auto start = Clock::now();
  do {
    const bool from_bundle = !bundles.empty() && mutator.below(32) == 0;
    Input input = from_bundle ? bundles[mutator.below(bundles.size())] : tiny[mutator.below(tiny.size())];
    mutator.mutate(input, tiny[mutator.below(tiny.size())]);
    const std::string bytes = input.bytes();
    kept.keep(bytes);
    alarm(kMostSeconds);

    const auto begin = Clock::now();
    const std::string message = outcome(bytes);
    slowest_s = std::max(slowest_s, seconds_since(begin));
    accepted += message.empty();
    kinds.insert(kind(message));
    ++executions;
  } while (seconds_since(start) < seconds);
  std::printf("%zu executions, %zu bundles accepted, %zu distinct outcomes, slowest %.1f ms, seed %u\n", executions,
              accepted, kinds.size(), 1e3 * slowest_s, seed);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: fuzz_bundle SECONDS [--seed N] [bundle folder ...], or fuzz_bundle INPUT\n");
    return 2;
  }
  if (std::filesystem::is_regular_file(argv[1])) {
    std::printf("%s\n", outcome(read_all(argv[1])).c_str());
    return 0;
  }
  unsigned seed = std::random_device()();
  std::vector<Input> bundles;
  for (int i = 2; i < argc; ++i) {
    if (std::string(argv[i]) == "--seed" && i + 1 < argc) {
      seed = static_cast<unsigned>(std::strtoul(argv[++i], nullptr, 10));
      continue;
    }
    const std::filesystem::path folder(argv[i]);
    const Input input = make_input(read_all(folder / "manifest.json"), read_all(folder / "weights.safetensors"));
    const std::string message = outcome(input.bytes());
    if (!message.empty()) throw std::runtime_error(folder.string() + ": not a bundle to begin with: " + message);
    bundles.push_back(input);
  }
  void* shared = mmap(nullptr, sizeof(Kept), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::runtime_error("no memory to share with the child process");
  auto& kept = *static_cast<Kept*>(shared);
  const pid_t child = fork();
  if (child == 0) {
    fuzz(std::strtod(argv[1], nullptr), seed, bundles, kept);
    return 0;
  }
  int status = 0;
  if (child > 0 && waitpid(child, &status, 0) == child && status == 0) return 0;
  std::ofstream(kLeft, std::ios::binary).write(kept.bytes, static_cast<std::streamsize>(kept.size));
  std::fprintf(stderr, "fuzz_bundle: crashed or took more than %u s, the input is in %s; seed %u\n", kMostSeconds,
               kLeft, seed);
  return 1;
}

#endif
