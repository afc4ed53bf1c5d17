// A copy of the bundled recognizer whose manifest says that it takes 2-D poses, for the tests.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

// A folder that is removed at the end.
class FlatBundle {
 public:
  explicit FlatBundle(const std::string& name) : folder_(std::filesystem::temp_directory_path() / name) {
    std::filesystem::create_directories(folder_);
    std::filesystem::copy_file(MODELS "/live/weights.safetensors", folder_ / "weights.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
    std::ifstream in(MODELS "/live/manifest.json");
    std::string manifest{std::istreambuf_iterator<char>(in), {}};
    if (manifest.find("\"flat\"") == std::string::npos)
      manifest.insert(manifest.find("\"max_gap_s\""), "\"flat\": true, ");
    std::ofstream(folder_ / "manifest.json") << manifest;
  }
  FlatBundle(const FlatBundle&) = delete;
  FlatBundle& operator=(const FlatBundle&) = delete;
  ~FlatBundle() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string path() const { return folder_.string(); }

 private:
  std::filesystem::path folder_;
};
