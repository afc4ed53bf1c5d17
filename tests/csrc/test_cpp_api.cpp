#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "check.hpp"
#include "motionrt/motionrt.hpp"

constexpr int kJoints = 15;

// A moving person.
std::vector<float> joints_at(int frame) {
  std::vector<float> pose(3 * kJoints);
  for (int i = 0; i < 3 * kJoints; ++i)
    pose[i] = 0.6f * std::sin(static_cast<float>(i)) + 0.2f * std::sin(0.3f * static_cast<float>(frame + i));
  return pose;
}

// The statement throws motionrt::Error with this status and a message that contains `part`.
template <class Statement>
void check_error(motionrt_status status, const std::string& part, Statement statement) {
  try {
    statement();
    CHECK(!"thrown");
  } catch (const motionrt::Error& error) {
    CHECK(error.status == status && std::string(error.what()).find(part) != std::string::npos);
  }
}

void decisions_are_those_of_c() {
  motionrt_recognizer* c = nullptr;
  CHECK(motionrt_load(MODELS "/live", MOTIONRT_FP32, &c) == MOTIONRT_OK);
  std::int32_t number = -1;
  CHECK(motionrt_layout(c, nullptr, &number) == MOTIONRT_OK);
  motionrt::Recognizer cpp(MODELS "/live");
  const std::int32_t layout = cpp.layout();
  CHECK(layout == number && cpp.joints(layout) == kJoints && cpp.labels() == motionrt_labels(c));
  CHECK(std::string(cpp.license()) == motionrt_license(c));
  for (int frame = 0; frame < 20; ++frame) {
    const auto joints = joints_at(frame);
    const motionrt_pose pose = {3, joints.data(), nullptr, kJoints};
    motionrt_decision wanted;
    CHECK(motionrt_step(c, frame * 0.05, &pose, 1, number, &wanted) == MOTIONRT_OK);
    const motionrt_decision got = cpp.step(frame * 0.05, joints, layout, 3);
    CHECK(got.person == 3 && got.label == wanted.label && got.score == wanted.score);
    CHECK(std::string(cpp.label(got.label)) == motionrt_label(c, got.label));
    CHECK(cpp.scores(3)[got.label] == got.score);
  }
  motionrt_free(c);
}

void bundles_and_layouts_come_from_memory() {
  const auto content = [](const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  motionrt::register_layout("sensor", content(MODELS "/../skeletons/kinect20.json"));
  const std::string manifest = content(MODELS "/live/manifest.json"),
                    weights = content(MODELS "/live/weights.safetensors");
  motionrt::Recognizer recognizer(motionrt_bundle{manifest.data(), manifest.size(), weights.data(), weights.size()});
  CHECK(recognizer.joints(recognizer.layout("sensor")) == 20);
  check_error(MOTIONRT_BAD_BUNDLE, "bundle/manifest.json", [] { motionrt::Recognizer(motionrt_bundle{"", 0, "", 0}); });
  check_error(MOTIONRT_INVALID_ARGUMENT, "sensor: ", [] { motionrt::register_layout("sensor", "{}"); });
}

void people_come_and_go() {
  motionrt::Recognizer recognizer(MODELS "/live", MOTIONRT_BF16);
  const std::int32_t layout = recognizer.layout("core15");
  const auto joints = joints_at(0);
  const std::vector<motionrt_pose> poses = {{1, joints.data(), nullptr, kJoints}, {2, joints.data(), nullptr, kJoints}};
  const auto decisions = recognizer.step(0, poses, layout);
  CHECK(decisions.size() == 2 && decisions[1].person == 2 && decisions[0].score == decisions[1].score);
  CHECK(recognizer.step(0.1, std::vector<motionrt_pose>(), layout).empty());
  CHECK(recognizer.evict(0.5).empty() && recognizer.evict(0.6).size() == 2);
  recognizer.step(0, poses, layout);
  recognizer.reset(1);
  check_error(MOTIONRT_INVALID_ARGUMENT, "person 1 is unknown", [&] { recognizer.scores(1); });
  recognizer.reset();
  check_error(MOTIONRT_INVALID_ARGUMENT, "person 2 is unknown", [&] { recognizer.scores(2); });
}

void labels_are_chosen_as_in_c() {
  motionrt::Recognizer recognizer(MODELS "/live");
  recognizer.choose_labels({"bow", "kick"});
  CHECK(recognizer.labels() == 3 && std::string(recognizer.label(1)) == "kick");
  recognizer.step(0, joints_at(0), recognizer.layout());
  CHECK(recognizer.scores(0).size() == 3);
  check_error(MOTIONRT_INVALID_ARGUMENT, "label 'kcik' is not one of model 'live', the nearest are 'kick'",
              [&] { recognizer.choose_labels({"kcik"}); });
  check_error(MOTIONRT_INVALID_ARGUMENT, "alarms_per_minute is 9999", [&] { recognizer.limit_alarms(9999); });
  recognizer.choose_labels({});
  CHECK(recognizer.labels() > 3);
}

void errors_are_exceptions() {
  check_error(MOTIONRT_BAD_BUNDLE, "nowhere: not the folder", [] { motionrt::Recognizer recognizer("nowhere"); });
  motionrt::Recognizer recognizer(MODELS "/live");
  check_error(MOTIONRT_INVALID_ARGUMENT, "kinect21", [&] { recognizer.layout("kinect21"); });
  std::vector<float> weights(kJoints * kJoints);
  for (int v = 0; v < kJoints; ++v) weights[v * kJoints + v] = 1;
  const std::int32_t layout = recognizer.add_layout(weights, kJoints);
  CHECK(recognizer.joints(layout) == kJoints && recognizer.joints(layout + 1) == -1 && !recognizer.label(-1));
  check_error(MOTIONRT_INVALID_ARGUMENT, "weights has 5 rows", [&] { recognizer.add_layout(weights, 45); });
  check_error(MOTIONRT_INVALID_ARGUMENT, "rows", [&] { recognizer.add_layout(weights, 0); });
  const std::vector<float> few(3);
  check_error(MOTIONRT_INVALID_ARGUMENT, "person 0 has 1 joints, layout 0 has 15",
              [&] { recognizer.step(0, few, layout); });
}

void poses_may_be_in_2d_if_the_model_takes_them() {
  motionrt::Recognizer image(MODELS "/live-2d"), upward(MODELS "/live-2d"), both(MODELS "/live"),
      solid(MODELS "/nwucla-stream");
  const std::int32_t coco = image.layout("coco17"), coco_of_both = both.layout("coco17");
  std::vector<float> weights(kJoints * kJoints);
  for (int v = 0; v < kJoints; ++v) weights[v * kJoints + v] = 1;
  const std::int32_t custom = upward.add_layout(weights, kJoints, true);
  CHECK(image.dims(coco) == 2 && image.joints(coco) == 17 && upward.dims(custom) == 2);
  CHECK(upward.dims(upward.layout()) == 3 && upward.dims(99) == -1);
  const int in_coco[] = {-1, -1, 0, 5, 7, 9, 6, 8, 10, 11, 13, 15, 12, 14, 16};  // of the model's joints
  for (int frame = 0; frame < 20; ++frame) {
    const auto joints = joints_at(frame);
    std::vector<float> pixels(2 * 17), core(2 * kJoints);
    for (int axis = 0; axis < 2; ++axis) {
      const float scale = axis == 0 ? 200.f : -200.f;
      const auto at = [&](int v) { return joints[3 * v + axis] + (axis == 1 && (v == 3 || v == 6) ? 2.f : 0.f); };
      for (int v = 0; v < kJoints; ++v) core[2 * v + axis] = at(v);
      core[axis] = (at(9) + at(12)) / 2;
      core[2 + axis] = (at(3) + at(6)) / 2;
      for (int v = 0; v < kJoints; ++v)
        if (in_coco[v] >= 0) pixels[2 * in_coco[v] + axis] = 400 + scale * core[2 * v + axis];
      for (int face = 0; face < 5; ++face)
        if (face != 1 && face != 2) pixels[2 * face + axis] = 400 + scale * core[2 * 2 + axis];
    }
    const auto one = image.step(frame * 0.05, pixels, coco), other = upward.step(frame * 0.05, core, custom);
    CHECK(one.tracking == MOTIONRT_TRACKED && one.label == other.label);
    CHECK_NEAR(one.score, other.score, 1e-3f);
    const auto paired = both.step(frame * 0.05, pixels, coco_of_both);
    CHECK(paired.label == one.label && paired.score == one.score && paired.event == one.event);
  }
  for (const char* name : {"coco17", "openpose18", "jhmdb15"}) {
    const std::int32_t layout = both.layout(name);
    std::vector<float> points;
    for (int v = 0; v < both.joints(layout); ++v)
      points.insert(points.end(), {100.f + 10.f * float(v), 50.f + 20.f * float(v)});
    CHECK(both.dims(layout) == 2 && both.step(9, points, layout, layout + 1).tracking == MOTIONRT_TRACKED);
  }
  check_error(MOTIONRT_INVALID_ARGUMENT, "layout coco17 is 2-D, expected a 3-D one", [&] { solid.layout("coco17"); });
  check_error(MOTIONRT_INVALID_ARGUMENT, "the layout is 2-D",
              [&] { solid.add_layout(std::vector<float>(20 * 20, 1), 20, true); });
}

void people_are_tracked_as_in_c() {
  motionrt::Tracker cpp("core15"), custom({-1, 0, 1}, 2);
  motionrt_tracker* c = nullptr;
  CHECK(motionrt_tracker_create("core15", &c) == MOTIONRT_OK);
  const std::vector<float> unseen(3 * kJoints, std::nanf(""));
  for (int frame = 0; frame < 40; ++frame) {
    std::vector<std::vector<float>> joints(3, joints_at(frame));
    for (int i = 0; i < 3; ++i)
      for (int v = 0; v < kJoints; ++v) joints[i][3 * v] += static_cast<float>((i - 1) * (frame - 20)) / 5;
    std::vector<motionrt_pose> poses = {{0, unseen.data(), nullptr, kJoints}};
    for (const auto& pose : joints) poses.push_back({0, pose.data(), nullptr, kJoints});
    std::vector<motionrt_pose> same = poses;
    CHECK(motionrt_track(c, frame * 0.05, poses.data(), 4) == MOTIONRT_OK);
    cpp.track(frame * 0.05, same);
    CHECK(poses[0].person == -1 && same.size() == 3);
    for (std::size_t i = 0; i < same.size(); ++i)
      CHECK(same[i].person == poses[i + 1].person && same[i].joints == joints[i].data());
  }
  motionrt_tracker_free(c);
  cpp.reset();
  std::vector<motionrt_pose> wrong = {{0, unseen.data(), nullptr, kJoints}};
  check_error(MOTIONRT_INVALID_ARGUMENT, "pose 0 has 15 joints, expected 3", [&] { custom.track(0, wrong); });
  check_error(MOTIONRT_INVALID_ARGUMENT, "unknown skeleton layout", [] { motionrt::Tracker tracker("nowhere5"); });
}

void robots_follow_in_c_and_cpp_alike() {
  motionrt_retargeter* c = nullptr;
  CHECK(motionrt_retargeter_create("g1", "smpl22", &c) == MOTIONRT_OK);
  motionrt::Retargeter cpp("g1");
  CHECK(cpp.joints() == 29 && std::string(cpp.joint(3)) == "left_knee_joint" && !cpp.joint(29));
  std::vector<double> wanted(29), got;
  for (int frame = 0; frame < 20; ++frame) {
    std::vector<float> joints(66);
    for (int i = 0; i < 66; ++i) joints[i] = std::sin(static_cast<float>(i) + 0.05f * static_cast<float>(frame));
    const motionrt_pose pose = {0, joints.data(), nullptr, 22};
    motionrt_robot_pose base;
    CHECK(motionrt_retarget(c, frame * 0.05, &pose, wanted.data(), &base) == MOTIONRT_OK);
    const motionrt_robot_pose same = cpp.step(frame * 0.05, joints, got);
    CHECK(got == wanted && same.position[2] == base.position[2] && same.error_m == base.error_m);
    CHECK(std::string(same.worst) == base.worst && same.tracking == MOTIONRT_TRACKED);
  }
  motionrt_retargeter_free(c);
  check_error(MOTIONRT_INVALID_ARGUMENT, "unknown robot 'x1'; known are g1", [] { motionrt::Retargeter("x1"); });
  check_error(MOTIONRT_INVALID_ARGUMENT, "no/x.json: cannot be read", [] { motionrt::Retargeter("no/x.json"); });
  check_error(MOTIONRT_INVALID_ARGUMENT, "coco17 is 2-D", [] { motionrt::Retargeter("g1", "coco17"); });
  check_error(MOTIONRT_INVALID_ARGUMENT, "the pose has 1 joints, expected 22", [&] { cpp.step(9, {0, 0, 0}, got); });
}

int main() {
  bundles_and_layouts_come_from_memory();
  poses_may_be_in_2d_if_the_model_takes_them();
  people_are_tracked_as_in_c();
  decisions_are_those_of_c();
  people_come_and_go();
  labels_are_chosen_as_in_c();
  errors_are_exceptions();
  robots_follow_in_c_and_cpp_alike();
  return result();
}
