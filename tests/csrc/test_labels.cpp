#include "alarms.hpp"
#include "check.hpp"
#include "labels.hpp"

using motionrt::choose_labels;
using motionrt::thresholds_at;
using Texts = std::vector<std::string>;

const Texts kLabels = {"wave", "wave left hand", "walk", "none"};

void labels_are_found_in_the_given_order() {
  CHECK((choose_labels("m", kLabels, 3, {"walk", "wave"}) == std::vector<int>{2, 0}));
  CHECK((choose_labels("m", kLabels, 3, {"none", "wave"}) == std::vector<int>{0}));
  CHECK((choose_labels("m", kLabels, -1, {"none", "wave"}) == std::vector<int>{3, 0}));
}

void a_wrong_choice_is_explained() {
  const auto choose = [](const Texts& chosen, int none = 3) { choose_labels("m", kLabels, none, chosen); };
  CHECK_FAILS(choose({"wake"}),
              "label 'wake' is not one of model 'm', the nearest are 'wave', 'walk', 'wave left hand'");
  CHECK_FAILS(choose({"left hand"}), "the nearest are 'wave left hand', ");
  CHECK_FAILS(choose({""}), "label '' is not one of model 'm'");
  CHECK_FAILS(choose({"wave", "wave"}), "label 'wave' is repeated");
  CHECK_FAILS(choose({}), "no labels, expected some of model 'm'");
  CHECK_FAILS(choose({"none"}), "no labels, expected some of model 'm'");
  CHECK_FAILS(choose({"wave"}, -1), "one label, expected at least two: model 'm' has no label for other motion");
}

void thresholds_are_interpolated_between_false_alarms() {
  const motionrt::Alarms alarms{{0.25, 1, 4}, {{0.9, 1}, {0.7, 1}, {0.5, 0.6}}, {{0.5, 1}, {0.3, 0.9}, {0, 0.1}}};
  CHECK((thresholds_at(alarms, 0.25, "m").on == std::vector<double>{0.9, 1}));
  CHECK((thresholds_at(alarms, 1, "m").off == std::vector<double>{0.3, 0.9}));
  CHECK((thresholds_at(alarms, 4, "m").on == std::vector<double>{0.5, 0.6}));
  const auto between = thresholds_at(alarms, 2, "m");  // half of the way in octaves
  CHECK_NEAR(between.on[0], 0.6, 1e-12);
  CHECK_NEAR(between.off[1], 0.5, 1e-12);
  double before = 1;
  for (double rate = 0.25; rate <= 4; rate *= 1.1) {
    const double on = thresholds_at(alarms, rate, "m").on[0];
    CHECK(on <= before);
    before = on;
  }
  for (const double rate : {0.2, 5., 0., -1., std::nan("")})
    CHECK_FAILS(thresholds_at(alarms, rate, "m"), ", model 'm' has thresholds for 0.25 to 4");
  CHECK_FAILS(thresholds_at({}, 0.5, "m"), "alarms_per_minute is 0.5, but model 'm' has no thresholds by false alarms");
}

int main() {
  labels_are_found_in_the_given_order();
  a_wrong_choice_is_explained();
  thresholds_are_interpolated_between_false_alarms();
  return result();
}
