#include "train/run_end.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "train/run_report.h"
#include "train/state.h"

namespace locant {

using Json = nlohmann::ordered_json;

void write_run_end(const TrainOptions& options, const TrainModel& model, const Datasets& data,
                   std::vector<RunAnswers> answers, const TrainResult& result) {
  RunReport report;
  report.title = model.name;
  report.command = options.command;
  Json facts{{"options", Json::parse(options.to_json())},
             {"model", model.name},
             {"parameters", model.model->num_parameters()},
             {"preprocessing", Json::parse(model.form.to_json())},
             {"epochs", result.epoch},
             {"steps", result.step},
             {"seconds", result.seconds},
             {"weights", model_path(options.out)},
             {"weights_sha256", sha256_of_file(model_path(options.out))}};
  if (!options.init.empty()) {
    facts["init"] = options.init;
    if (std::filesystem::is_regular_file(options.init)) facts["init_sha256"] = sha256_of_file(options.init);
  }
  report.facts = facts.dump(-1, ' ', false, Json::error_handler_t::replace);
  report.classes = data.classes;
  if (!options.probe) report.epochs = read_epoch_lines(log_path(options.out));
  for (RunAnswers& one : answers)
    report.parts.push_back(evaluated_part(one.name, std::move(one.evaluation), one.data, model.form));
  const auto add = [&](const char* side, const std::shared_ptr<const Dataset>& pictures) {
    if (!pictures) return;
    for (SplitFile& file : split_files(side, *pictures, data.classes, model.form))
      report.split.push_back(std::move(file));
  };
  add("train", data.train);
  add("val", data.val);
  add("test", data.test);
  report.left_out = data.skipped;
  write_run_report(options.out, report);
}

}  // namespace locant
