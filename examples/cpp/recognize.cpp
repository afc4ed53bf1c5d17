// The example ../c/recognize.c, which describes input and output, with motionrt.hpp.
#include <cstdio>
#include <iostream>
#include <motionrt/motionrt.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Pose {
  double t = 0;
  std::int64_t person = 0;
  std::vector<float> joints;
};

Pose read_pose(const std::string& line, std::int32_t joint_count) {
  Pose pose;
  std::istringstream words(line);
  if (!(words >> pose.t)) throw std::runtime_error("expected a time in seconds first");
  if (!(words >> pose.person) || words.peek() == '.')
    throw std::runtime_error("expected the person's number, an integer, after the time");
  for (std::string word; words >> word;) {
    std::size_t end = 0;
    try {
      pose.joints.push_back(std::stof(word, &end));  // accepts nan, unlike >>
    } catch (const std::logic_error&) {
    }
    if (end != word.size()) throw std::runtime_error("'" + word.substr(0, 20) + "' is not a number");
  }
  if (pose.joints.size() != static_cast<std::size_t>(3 * joint_count))
    throw std::runtime_error(std::to_string(pose.joints.size()) + " coordinates, expected " +
                             std::to_string(3 * joint_count) + ": x y z of " + std::to_string(joint_count) + " joints");
  return pose;
}

void print_decision(const motionrt::Recognizer& recognizer, double t, const motionrt_decision& d) {
  const auto label = [&](std::int32_t index) { return index < 0 ? "-" : recognizer.label(index); };
  std::printf("%.3f\t%lld\t%s\t%.6f", t, static_cast<long long>(d.person), label(d.label), d.score);
  if (d.event == MOTIONRT_ONSET) std::printf("\tonset\t%s\t%.3f", label(d.event_label), d.since);
  if (d.event == MOTIONRT_OFFSET) std::printf("\toffset\t%s", label(d.event_label));
  std::puts("");
  std::fflush(stdout);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: recognize BUNDLE LAYOUT < frames\n", stderr);
    return 2;
  }
  std::string where;
  try {
    motionrt::Recognizer recognizer(argv[1]);
    const std::int32_t layout = recognizer.layout(argv[2]), joint_count = recognizer.joints(layout);
    long number = 0;
    for (std::string line; std::getline(std::cin, line);) {
      where = "line " + std::to_string(++number) + ": ";
      if (!line.empty() && line[0] == '#') continue;
      const Pose pose = read_pose(line, joint_count);
      print_decision(recognizer, pose.t, recognizer.step(pose.t, pose.joints, layout, pose.person));
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "recognize: %s%s\n", where.c_str(), error.what());
    return 2;
  }
  return 0;
}
