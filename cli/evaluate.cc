// locant evaluate: how often a classifier is right on labelled pictures, and where it is wrong.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>

#include "cli/answers.h"
#include "cli/cli.h"
#include "cli/decode_options.h"
#include "cli/outputs.h"
#include "cli/picture_list.h"
#include "cli/train_report.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "core/finite.h"
#include "core/parallel.h"
#include "core/sha256.h"
#include "io/picture_files.h"
#include "segment/model_identity.h"
#include "train/class_match.h"
#include "train/confusion.h"
#include "train/run_report.h"

namespace locant::cli {
namespace evaluate_command {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string folder, split, labels, output;
  WeightsOptions weights;
  DecodeOptions decode;
  std::int64_t img_size = 0, batch = 8;
  std::optional<double> temperature;
  bool calibrate = false, json = false, strict = false;
};

using Planes = std::vector<std::uint8_t>;

/// Labelled pictures as the model sees them.
class Pictures {
 public:
  struct Listed {
    std::string path;  ///< what people are told
    std::string name;  ///< the same wherever the folder lies
    std::int64_t label = 0;
  };
  virtual ~Pictures() = default;
  /// Bytes (channels, rows, columns). Thread-safe. Throws Error.
  virtual void read(std::size_t i, Planes& planes) const = 0;
  virtual std::string sha256(std::size_t i) const = 0;

  std::vector<Listed> listed;
  std::vector<SkippedPicture> no_files;  ///< called pictures
  std::string said;                      ///< how the folders are classes
};

std::string matched_by(ClassMatch::By by) {
  return by == ClassMatch::By::name     ? "by name"
         : by == ClassMatch::By::synset ? "by ImageNet's synsets"
                                        : "by number";
}

class FolderPictures final : public Pictures {
 public:
  FolderPictures(const std::string& folder, const LoadedModel& loaded, const DecodeOptions& decode,
                 const GlobalOptions& globals)
      : form_(loaded.preprocess), decode_(decode) {
    const std::vector<std::string> folders = folder_classes(folder);
    const ClassMatch match = match_classes(folders, loaded.classes, loaded.model->num_classes());
    said = matched_by(match.by);
    std::vector<std::string> empty;
    for (std::size_t f = 0; f < folders.size(); ++f) {
      const PictureFiles found = pictures_in((fs::path(folder) / folders[f]).string(), true);
      for (const std::string& path : found.others)
        no_files.push_back({path, "no regular file, but a FIFO, a device or a socket"});
      for (const std::string& path : found.pictures)
        listed.push_back({path, fs::path(path).lexically_relative(folder).generic_string(), match.index[f]});
      if (found.pictures.empty()) empty.push_back(folders[f]);
    }
    require(!listed.empty(), "evaluate", "{}: no picture in its {} class folders", folder, folders.size());
    if (!empty.empty()) note(globals, "no picture in: {}", fmt::join(empty, ", "));
    if (const std::size_t loose = pictures_in(folder).pictures.size(); loose > 0)
      note(globals, "{} picture{} beside the class folders passed over", loose, loose == 1 ? "" : "s");
  }
  void read(std::size_t i, Planes& planes) const override {
    preprocess_bytes(read_image(listed[i].path, decode_), form_, planes.data());
  }
  std::string sha256(std::size_t i) const override { return sha256_of_file(listed[i].path); }

 private:
  const Preprocess& form_;
  const DecodeOptions& decode_;
};

class IdxPictures final : public Pictures {
 public:
  IdxPictures(const EvaluationPlace& place, const LoadedModel& loaded) : form_(loaded.preprocess) {
    std::vector<std::string> labels;
    data_ = open_idx(place.folder, place.idx, form_, &labels);
    const ClassMatch match = match_classes(labels, loaded.classes, loaded.model->num_classes(), true);
    said = matched_by(match.by);
    for (std::int64_t i = 0; i < data_->size(); ++i)
      listed.push_back({fmt::format("#{}", i), fmt::format("#{}", i),
                        match.index[static_cast<std::size_t>(data_->label(i))]});
  }
  void read(std::size_t i, Planes& planes) const override {
    data_->read(static_cast<std::int64_t>(i), planes.data());
  }
  std::string sha256(std::size_t i) const override {
    Planes planes(static_cast<std::size_t>(form_.channels * form_.rows * form_.columns));
    read(i, planes);
    return sha256_hex(planes);
  }

 private:
  const Preprocess& form_;
  std::shared_ptr<const Dataset> data_;
};

/// Preprocess::normalised of every byte.
class Normaliser {
 public:
  explicit Normaliser(const Preprocess& form) : plane_(form.rows * form.columns) {
    for (std::int64_t c = 0; c < form.channels; ++c)
      for (int byte = 0; byte < 256; ++byte) table_.push_back(static_cast<float>(form.normalised(byte, c)));
  }
  void operator()(const Planes& planes, float* out) const {
    for (std::size_t i = 0; i < planes.size(); ++i)
      out[i] = table_[i / static_cast<std::size_t>(plane_) * 256 + planes[i]];
  }

 private:
  std::int64_t plane_;
  std::vector<float> table_;
};

bool lies_in(const fs::path& path, const fs::path& folder) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(path, error), root = fs::weakly_canonical(folder, error);
  const auto [rest, other] = std::mismatch(root.begin(), root.end(), whole.begin(), whole.end());
  return rest == root.end();
}

class Evaluator {
 public:
  Evaluator(const Options& options, const GlobalOptions& globals) : options_(options), globals_(globals) {}

  int run() {
    require(!options_.calibrate || !options_.temperature, "evaluate",
            "--calibrate looks for a temperature and --temperature gives one; take one of them");
    place_ = find_evaluation_place(options_.folder, options_.split);
    require(options_.output.empty() || !lies_in(options_.output, options_.folder), "evaluate",
            "-o {} lies in {}, whose pictures are read; give another folder", options_.output,
            options_.folder);
    banner(globals_);
    load();
    open();
    prepare_output();
    for (const SkippedPicture& picture : pictures_->no_files) leave_out(picture);
    if (!measure()) {
      warn(fmt::format("interrupted after {} of {} pictures; nothing was written", done_,
                       pictures_->listed.size()));
      return kInterrupted;
    }
    if (evaluation_.size() == 0)
      fail("evaluate", "none of the {} pictures could be read; the first is {}: {}", left_out_.size(),
           left_out_.front().path, left_out_.front().reason);
    answer();
    if (left_out_.empty()) return kOk;
    warn(fmt::format("{} of {} pictures left out", left_out_.size(),
                     pictures_->listed.size() + pictures_->no_files.size()));
    return kCheckFailed;
  }

 private:
  bool reported() const { return options_.json || !options_.output.empty(); }

  void load() {
    const Stopwatch watch;
    loaded_ = load_weights(options_.weights, globals_);
    load_s_ = watch.seconds();
    const std::string& file = options_.weights.weights;
    require(loaded_.model->num_classes() > 0, "evaluate", "{}: {} without a classification head", file,
            loaded_.name);
    require(loaded_.model->inputs().front().name == "images", "evaluate",
            "{}: {} sees {}, not pictures of classes", file, loaded_.name,
            loaded_.model->inputs().front().name);
    require(loaded_.answer != LoadedModel::Answer::values, "evaluate",
            "{}: the head of {} gives values, not classes", file, loaded_.name);
    if (loaded_.answer == LoadedModel::Answer::each_class)
      note(globals_,
           "the checkpoint answers each class by itself; here its classes are ranked, and probabilities and "
           "loss are softmax's");
    if (options_.img_size > 0) set_input_size(loaded_.preprocess, options_.img_size);
    if (!options_.labels.empty()) use_labels(loaded_, options_.labels);
  }

  void open() {
    if (place_.idx.empty())
      pictures_ = std::make_unique<FolderPictures>(place_.folder, loaded_, options_.decode, globals_);
    else
      pictures_ = std::make_unique<IdxPictures>(place_, loaded_);
    std::vector<bool> seen(static_cast<std::size_t>(loaded_.model->num_classes()));
    for (const auto& picture : pictures_->listed) seen[static_cast<std::size_t>(picture.label)] = true;
    std::string split = place_.split.empty() ? "" : place_.split + ": ";
    const std::size_t count = pictures_->listed.size();
    note(globals_, "{}{} picture{} of {} classes, matched {}", split, count, count == 1 ? "" : "s",
         std::count(seen.begin(), seen.end(), true), pictures_->said);
  }

  void prepare_output() {
    report_.parts.resize(1);
    report_.parts.front().picture = [this](std::int64_t row) {
      Planes planes = blank_planes();
      pictures_->read(kept_[static_cast<std::size_t>(row)], planes);
      return image_of_planes(planes, loaded_.preprocess);
    };
    if (options_.output.empty()) return;
    std::error_code error;
    fs::create_directories(options_.output, error);
    require(fs::is_directory(options_.output, error), ErrorKind::system, "evaluate",
            "cannot make the folder {}: {}", options_.output, error.message());
    Outputs outputs;
    for (const std::string& file : run_report_files(report_))
      outputs.add("-o", (fs::path(options_.output) / file).string());
    outputs.keep(options_.weights.weights);
    outputs.keep(options_.labels);
  }

  Planes blank_planes() const {
    const Preprocess& form = loaded_.preprocess;
    return Planes(static_cast<std::size_t>(form.channels * form.rows * form.columns));
  }

  void leave_out(const SkippedPicture& picture) {
    if (options_.strict)
      fail("evaluate", "{}: {}; without --strict it is left out", picture.path, picture.reason);
    left_out_.push_back(picture);
    warn(fmt::format("left out: {}: {}", picture.path, picture.reason));
  }

  /// False when the user stopped it.
  bool measure() {
    const StopSignals signals;
    Progress progress(globals_, "evaluate", static_cast<std::int64_t>(pictures_->listed.size()));
    const Normaliser normalise(loaded_.preprocess);
    const Stopwatch watch;
    evaluation_.logits.reserve(pictures_->listed.size() *
                               static_cast<std::size_t>(loaded_.model->num_classes()));
    while (done_ < pictures_->listed.size()) {
      const std::size_t count =
          std::min(static_cast<std::size_t>(options_.batch), pictures_->listed.size() - done_);
      run_batch(done_, count, normalise, progress);
      done_ += count;
      progress.update(static_cast<std::int64_t>(done_));
      if (stop_requested()) return false;
    }
    seconds_ = watch.seconds();
    evaluation_.measure();
    return true;
  }

  void run_batch(std::size_t begin, std::size_t count, const Normaliser& normalise, Progress& progress) {
    const Preprocess& form = loaded_.preprocess;
    const std::int64_t numbers = form.channels * form.rows * form.columns;
    Tensor input({static_cast<std::int64_t>(count), form.channels, form.rows, form.columns});
    std::vector<std::optional<SkippedPicture>> faults(count);
    std::vector<std::string> hashes(count);
    parallel_for(static_cast<std::int64_t>(count), 1, [&](std::int64_t from, std::int64_t to) {
      Planes planes = blank_planes();
      for (auto i = static_cast<std::size_t>(from); i < static_cast<std::size_t>(to); ++i) try {
          pictures_->read(begin + i, planes);
          normalise(planes, input.data() + static_cast<std::int64_t>(i) * numbers);
          if (reported()) hashes[i] = pictures_->sha256(begin + i);
        } catch (const Error& error) {
          faults[i] = skipped_picture(pictures_->listed[begin + i].path, error);
        }
    });
    std::vector<std::size_t> good;
    for (std::size_t i = 0; i < count; ++i) {
      if (!faults[i]) {
        std::copy_n(input.data() + static_cast<std::int64_t>(i) * numbers, i == good.size() ? 0 : numbers,
                    input.data() + static_cast<std::int64_t>(good.size()) * numbers);
        good.push_back(i);
        continue;
      }
      progress.finish();
      leave_out(*faults[i]);
    }
    if (good.empty()) return;
    const Tensor logits =
        loaded_.model->forward(Context{}, Var(input.slice(0, static_cast<std::int64_t>(good.size()))))
            .value();
    for (std::size_t row = 0; row < good.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      const Pictures::Listed& picture = pictures_->listed[begin + good[row]];
      const Tensor own = logits.slice(at, at + 1);
      if (const std::string bad = not_finite(own); !bad.empty()) {
        progress.finish();
        leave_out({picture.path, "the model's output holds " + bad});
        continue;
      }
      evaluation_.add(own, {picture.label});
      kept_.push_back(begin + good[row]);
      files_.push_back({"", picture.name, "", hashes[good[row]]});
    }
  }

  std::string facts() const {
    const auto count = static_cast<std::int64_t>(kept_.size());
    return fmt::format(R"({{"data":{{"folder":{},"split":{},"pictures":{},"sha256":"{}"}},)"
                       R"("checkpoint":{{"path":{},"xxh3_128":"{}",{}}},)"
                       R"("load_seconds":{:.4g},"seconds":{:.4g},"pictures_per_second":{:.4g}}})",
                       json_string(options_.folder),
                       place_.split.empty() ? "null" : json_string(place_.split), count,
                       pictures_digest(files_), json_string(options_.weights.weights),
                       model_identity(options_.weights.weights), loaded_json(loaded_), load_s_, seconds_,
                       static_cast<double>(count) / seconds_);
  }

  void answer() {
    report_.classes = loaded_.classes;
    report_.temperature = options_.temperature.value_or(1.0);
    EvaluatedPart& part = report_.parts.front();
    for (const std::size_t i : kept_) part.paths.push_back(pictures_->listed[i].path);
    part.evaluation = std::move(evaluation_);
    if (options_.calibrate) {
      std::vector<std::string> names;
      for (const SplitFile& file : files_) names.push_back(file.path);
      report_.calibration = calibrate(part.evaluation.data(), names);
    }
    if (reported()) fill_report();
    if (!options_.output.empty()) write_run_report(options_.output, report_);
    if (options_.json)
      write_out(run_report_json(report_, -1));
    else
      print(part.evaluation);
  }

  void fill_report() {
    report_.command = globals_.arguments;
    report_.facts = facts();
    report_.left_out = left_out_;
    report_.title =
        fmt::format("{}, {}", loaded_.name, fs::path(options_.folder).lexically_normal().filename().string());
    if (!place_.split.empty()) report_.title += "/" + place_.split;
  }

  void print(const Evaluation& e) const {
    std::string top = fmt::format("top-1 {:.2f} % ({} of {})", e.accuracy * 100.0,
                                  std::llround(e.accuracy * static_cast<double>(e.size())), e.size());
    if (e.classes() > 5) top += fmt::format(", top-5 {:.2f} %", e.top5 * 100.0);
    out("{}, mean loss {:.4f}, calibration error {:.4f}\n", top, mean_nll(e.data(), report_.temperature),
        calibration_error(e.data(), report_.temperature));
    print_classes(e);
    if (const auto& c = report_.calibration)
      out("temperature {:.4f}, fitted on {} pictures (about half of them, by a hash of their names); on the "
          "other {} loss {:.4f} -> {:.4f}, calibration error {:.4f} -> {:.4f}\n",
          c->temperature, c->fitted_on, c->measured_on, c->nll_before, c->nll_after, c->ece_before,
          c->ece_after);
    if (!options_.output.empty())
      out("wrote {}: {}\n", printable(options_.output), fmt::join(run_report_files(report_), ", "));
    const double rate = static_cast<double>(e.size()) / seconds_;
    out("load {}, {} pictures in {} ({:.{}f} a second, {})\n", human_seconds(load_s_), e.size(),
        human_seconds(seconds_), rate, rate < 10.0 ? 2 : 0, printable(loaded_.name));
  }

  void print_classes(const Evaluation& e) const {
    constexpr std::size_t kShown = 20;
    std::vector<ClassResult> results =
        worst_first(class_results(count_confusion(e.labels, e.predictions(), e.classes())));
    const std::size_t all = results.size();
    if (all > kShown) results.resize(kShown);
    std::size_t width = 5;
    std::vector<std::string> names;
    for (const ClassResult& r : results) {
      names.push_back(printable(class_name(loaded_.classes, r.index)));
      width = std::max(width, names.back().size());
    }
    const auto percent = [](double share) {
      return std::isfinite(share) ? fmt::format("{:.2f} %", share * 100.0) : std::string("-");
    };
    out("  {:<{}}  pictures     right  precision    recall        F1\n", "class", width);
    for (std::size_t i = 0; i < results.size(); ++i)
      out("  {:<{}}  {:>8}  {:>8}  {:>9}  {:>8}  {:>8}\n", names[i], width, results[i].pictures,
          results[i].right, percent(results[i].precision), percent(results[i].recall),
          percent(results[i].f1));
    if (all > kShown) out("  and {} classes more: --json or -o DIR\n", all - kShown);
  }

  const Options& options_;
  const GlobalOptions& globals_;
  EvaluationPlace place_;
  LoadedModel loaded_;
  std::unique_ptr<Pictures> pictures_;
  Evaluation evaluation_;
  RunReport report_;
  std::vector<std::size_t> kept_;  ///< number of the picture of each row of the evaluation
  std::vector<SplitFile> files_;
  std::vector<SkippedPicture> left_out_;
  std::size_t done_ = 0;
  double load_s_ = 0.0, seconds_ = 0.0;
};

}  // namespace
}  // namespace evaluate_command

void add_evaluate(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<evaluate_command::Options>();
  CLI::App* sub = add_command(
      app, globals, "evaluate", "Measures a classifier on labelled pictures: top-1, top-5, classes, mistakes",
      "locant evaluate photos --weights run/model.safetensors\n"
      "locant evaluate imagenet --split val --weights swin_tiny_patch4_window7_224.pth -o answers\n"
      "locant evaluate photos --weights run/model.safetensors --calibrate --json\n",
      [options, &globals] { return evaluate_command::Evaluator(*options, globals).run(); });
  sub->add_option(
         "FOLDER", options->folder,
         "Class folders, called as the checkpoint's classes (or ImageNet's synsets, or numbers where "
         "it has no names); test/, val/, valid/ or train/ with such; or MNIST's IDX files")
      ->required();
  sub->add_option("--split", options->split,
                  "Which part of FOLDER; without it the first of test, val and valid that is there")
      ->type_name("NAME");
  add_weights_options(sub, options->weights, "Checkpoint (safetensors, .pth) or folder of the hub")
      ->required();
  add_labels_option(sub, options->labels);
  sub->add_option(
         "-o,--output", options->output,
         "Folder for report.json, confusion.csv and .png, per_class.csv, predictions.csv, and wrong.png, "
         "a sheet of the wrong pictures")
      ->type_name("DIR");
  sub->add_flag(
      "--calibrate", options->calibrate,
      "Fits a temperature on about half of the pictures, by a hash of their names, and measures it on "
      "the others");
  sub->add_option("--temperature", options->temperature,
                  "Divide the logits by it, for probabilities and loss")
      ->type_name("T")
      ->check(CLI::Range(1e-3, 1e3));
  sub->add_option("--img-size", options->img_size, "Input side in pixels; 0: the checkpoint's")
      ->type_name("N")
      ->check(CLI::Range(0, 8192));
  add_decode_options(sub, globals, options->decode);
  sub->add_option("--batch", options->batch, "Pictures that go through the model at once")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  sub->add_flag("--json", options->json, "One JSON object, as report.json");
  add_strict(sub, options->strict);
}

}  // namespace locant::cli
