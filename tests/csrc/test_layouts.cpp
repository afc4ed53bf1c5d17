#include <thread>
#include <utility>

#include "check.hpp"
#include "layouts.hpp"

using motionrt::find_layout;
using motionrt::map_weights;
using motionrt::register_layout;

namespace {

float weight(const std::string& target, const std::string& joint, const std::string& source, const std::string& from) {
  const auto& to = find_layout(target);
  const auto& other = find_layout(source);
  return map_weights(to, other)[to.index(joint) * other.joints.size() + other.index(from)];
}

void layouts_are_built_in() {
  const auto& layout = find_layout("core15");
  CHECK(layout.name == "core15" && layout.dims == 3 && layout.joints.size() == 15);
  CHECK(layout.joints[layout.root] == "pelvis" && layout.parents[layout.root] == -1);
  CHECK(layout.joints[layout.parents[layout.index("left_knee")]] == "left_hip");
  CHECK((layout.left == std::vector<int>{layout.index("left_hip"), layout.index("left_shoulder")}));
  CHECK((layout.right == std::vector<int>{layout.index("right_hip"), layout.index("right_shoulder")}));
  CHECK(layout.index("tail") == -1);
  CHECK(find_layout("coco17").dims == 2);
  CHECK_FAILS(find_layout("core16"),
              "unknown skeleton layout 'core16'; known are arkit91, azure32, bandai, cmu31, coco17, core14, core15");
}

void every_layout_is_valid() {
  for (const std::string name :
       {"arkit91",  "azure32",  "bandai",      "cmu31",   "coco17", "core14", "core15",     "h36m17", "jhmdb15",
        "kinect20", "kit21",    "mediapipe33", "meta70",  "meta84", "ntu25",  "openpose18", "smpl22", "smpl24",
        "smplh52",  "smplx144", "smplx55",     "webxr83", "zed18",  "zed34",  "zed38"}) {
    const auto& layout = find_layout(name);
    const int V = static_cast<int>(layout.joints.size());
    CHECK(layout.parents.size() == layout.joints.size() && layout.neighbors.size() == layout.joints.size());
    CHECK(layout.root >= 0 && layout.root < V);
    for (const int parent : layout.parents) CHECK(parent >= -1 && parent < V);
    for (const int joint : layout.left) CHECK(joint >= 0 && layout.joints[joint].rfind("left_", 0) == 0);
    for (const int joint : layout.right) CHECK(joint >= 0 && layout.joints[joint].rfind("right_", 0) == 0);
  }
}

void a_joint_comes_from_itself_or_its_neighbors() {
  CHECK(weight("core15", "left_knee", "mediapipe33", "left_knee") == 1);
  CHECK(weight("core15", "left_knee", "mediapipe33", "right_knee") == 0);
  CHECK(weight("core15", "pelvis", "mediapipe33", "left_hip") == 0.5f);
  CHECK(weight("core15", "head", "mediapipe33", "right_ear") == 0.5f);
  CHECK(weight("core15", "head", "mediapipe33", "nose") == 0);
  // Through joints that the source lacks as well: the spine is midway between the centers of hips and shoulders.
  CHECK(weight("kinect20", "spine", "mediapipe33", "left_hip") == 0.25f);
  CHECK(weight("kinect20", "spine", "mediapipe33", "right_shoulder") == 0.25f);
}

void rows_sum_to_one() {
  const auto& source = find_layout("mediapipe33");
  const auto weights = map_weights(find_layout("smpl22"), source);
  CHECK(weights.size() == 22 * 33);
  for (std::size_t v = 0; v < 22; ++v) {
    double sum = 0;
    for (std::size_t s = 0; s < 33; ++s) sum += weights[v * 33 + s];
    CHECK_NEAR(sum, 1, 1e-6);
  }
}

void a_missing_joint_is_named() {
  motionrt::Layout lame = find_layout("core15");
  lame.joints[lame.index("left_knee")] = "left_peg";
  CHECK_FAILS(map_weights(find_layout("core15"), lame), "core15 cannot be made from core15, which lacks left_knee");
  // Two joints that only replace each other cannot be derived.
  motionrt::Layout target;
  target.name = "circle";
  target.joints = {"a", "b"};
  target.neighbors = {{{"b"}}, {{"a"}}};
  CHECK_FAILS(map_weights(target, lame), "lacks a, b");
}

void legs_may_be_left_out() {
  const auto &body = find_layout("smpl22"), &source = find_layout("meta70");
  CHECK_FAILS(map_weights(body, source), "which lacks left_hip, right_hip, left_knee");
  const auto weights = map_weights(body, source, false);
  for (int v = 0; v < 22; ++v) {
    double sum = 0;
    for (int s = 0; s < 70; ++s) sum += weights[v * 70 + s];
    CHECK_NEAR(sum, body.is_leg(v) ? 0 : 1, 1e-6);
  }
  CHECK(body.is_leg(body.index("right_foot")) && !body.is_leg(body.root));
}

void a_layout_can_be_registered() {
  const std::string text =
      R"({"dims": 3, "root": "hips", "joints": [{"name": "hips", "parent": null, "neighbours": [["a", "b"]]},
          {"name": "left_hip", "parent": "hips"}, {"name": "left_shoulder", "parent": "hips"},
          {"name": "right_shoulder", "parent": "hips"}]})";
  register_layout("mine", text);
  const auto& mine = find_layout("mine");
  CHECK((mine.joints == std::vector<std::string>{"hips", "left_hip", "left_shoulder", "right_shoulder"}));
  CHECK((mine.parents == std::vector<int>{-1, 0, 0, 0}) && mine.root == 0 && mine.dims == 3);
  CHECK((mine.neighbors[0] == std::vector<std::vector<std::string>>{{"a", "b"}}));
  CHECK((mine.left == std::vector<int>{2}) && (mine.right == std::vector<int>{3}));
  register_layout("mine", text);  // the same
  CHECK_FAILS(register_layout("kinect20", text), "there is another layout 'kinect20', choose a different name");
  CHECK_FAILS(find_layout("nowhere"), "zed38, mine");
  for (const std::string name : {"", "a b", "a/b", "a\nb"}) CHECK_FAILS(register_layout(name, text), "name is '");
  CHECK_FAILS(register_layout(std::string(129, 'x'), text), "expected 1 to 128 letters");
}

void a_wrong_layout_file_is_rejected() {
  const auto one = [](const std::string& joints) { return R"({"dims": 3, "root": "a", "joints": [)" + joints + "]}"; };
  const std::string a = R"({"name": "a", "parent": null})";
  const std::pair<std::string, const char*> wrong[] = {
      {"", "x: not valid JSON"},
      {"[]", "x: dims is missing, expected 3 (meters) or 2 (pixels)"},
      {R"({"dims": 4})", "x: dims is 4, expected 3"},
      {R"({"dims": 4294967299})", "x: dims is 4294967299, expected 3"},
      {R"({"dims": 3, "joints": 7})", "x: 0 joints, expected 1 to 256"},
      {one("7"), "x: the name of a joint is missing, expected a joint's name"},
      {one(R"({"name": 7})"), "x: the name of a joint is 7, expected a joint's name"},
      {one(R"({"name": ""})"), "x: the name of a joint is \"\", expected"},
      {one(a + "," + a), "x: joint 'a' occurs twice"},
      {one(R"({"name": "a"})"), "x: the parent of 'a' is missing, expected a joint's name"},
      {one(R"({"name": "a", "parent": "b"})"), "x: the parent of 'a' is \"b\", which is not a joint of the layout"},
      {one(R"({"name": "a", "parent": "b"}, {"name": "b", "parent": "a"})"), "x: joint 'a' is its own ancestor"},
      {one(R"({"name": "a", "parent": null, "neighbours": 7})"), "x: neighbours of 'a' is 7, expected a list of lists"},
      {one(R"({"name": "a", "parent": null, "neighbours": [[]]})"), "x: neighbours of 'a' has [], expected a list"},
      {one(R"({"name": "a", "parent": null, "neighbours": [["b", 7]]})"), "x: neighbours of 'a' is 7, expected"},
      {R"({"dims": 3, "joints": [)" + a + "]}", "x: root is missing, expected a joint's name"},
      {R"({"dims": 3, "root": "b", "joints": [)" + a + "]}", "x: root is \"b\", which is not a joint of the layout"},
  };
  for (const auto& [text, part] : wrong) CHECK_FAILS(register_layout("x", text), part);
}

void neighbors_that_refer_to_each_other_take_no_time() {
  motionrt::Layout target, source = find_layout("core15");
  target.name = "knot";
  std::vector<std::vector<std::string>> everybody;
  for (int i = 0; i < 100; ++i) everybody.push_back({"j" + std::to_string(i)});
  for (const auto& group : everybody) target.joints.push_back(group[0]), target.neighbors.push_back(everybody);
  CHECK_FAILS(map_weights(target, source), "knot: neighbours of joints refer to each other in too many ways");
}

void the_first_use_is_thread_safe() {
  const motionrt::Layout* found[4] = {};
  std::vector<std::thread> threads;
  for (auto& layout : found) threads.emplace_back([&layout] { layout = &find_layout("ntu25"); });
  for (auto& thread : threads) thread.join();
  for (const auto* layout : found) CHECK(layout == &find_layout("ntu25"));
}

}  // namespace

int main() {
  the_first_use_is_thread_safe();
  layouts_are_built_in();
  every_layout_is_valid();
  a_joint_comes_from_itself_or_its_neighbors();
  rows_sum_to_one();
  a_missing_joint_is_named();
  legs_may_be_left_out();
  a_layout_can_be_registered();
  a_wrong_layout_file_is_rejected();
  neighbors_that_refer_to_each_other_take_no_time();
  return result();
}
