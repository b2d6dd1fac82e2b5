// locant classify: the likeliest classes of pictures.
#include "models/classify.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "cli/answers.h"
#include "cli/cli.h"
#include "cli/decode_options.h"
#include "cli/picture_list.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "core/finite.h"

namespace locant::cli {
namespace classify_command {
namespace {

struct Options {
  std::vector<std::string> pictures;
  WeightsOptions weights;
  std::string labels;
  int top = 5;
  std::int64_t img_size = 0;
  std::int64_t batch = 8;
  bool json = false, csv = false, strict = false, multi_label = false;
  DecodeOptions decode;
};

/// A batch of pictures that could be read, as they go into the model.
struct Batch {
  std::vector<std::string> paths;
  std::vector<Tensor> inputs;
  double seconds = 0.0;  ///< reading, decoding and preprocessing
};

class Classifier {
 public:
  Classifier(const Options& options, const GlobalOptions& globals) : options_(options), globals_(globals) {}

  int run() {
    require(!(options_.json && options_.csv), "classify", "--json and --csv exclude each other");
    PictureList list(globals_, options_.pictures, options_.strict,
                     [this](const std::string& path, const std::string& error) {
                       if (options_.json) write_out(answer_error_json(path, error));
                       if (options_.csv) write_out(answer_error_csv(path, error));
                     });
    banner(globals_);
    load();
    if (options_.csv) write_out(answer_csv_heading());
    Progress progress(globals_, "classify", list.size());
    list.clear_before_warnings(progress);
    Batch batch;
    std::int64_t seen = 0;
    for (const ListedPicture& picture : list.pictures()) {
      list.attempt(picture, [&] { read(picture.path, batch); });
      if (list.stopped()) break;
      if (static_cast<std::int64_t>(batch.inputs.size()) == options_.batch) flush(batch, list, progress);
      if (list.stopped()) break;
      progress.update(++seen);
    }
    flush(batch, list, progress);
    if (!options_.json && !options_.csv && done_ > 0)
      out("load {}, preprocess {}, inference {} a picture ({} picture{}, {})\n", human_seconds(load_s_),
          human_seconds(preprocess_s_ / static_cast<double>(done_)),
          human_seconds(inference_s_ / static_cast<double>(done_)), done_, done_ == 1 ? "" : "s",
          printable(loaded_.name));
    return list.finish();
  }

 private:
  void load() {
    const Stopwatch watch;
    WeightsOptions weights = options_.weights;
    require(!weights.weights.empty() || weights.model.empty(), "classify",
            "--model {} needs --weights FILE; only the digits model is bundled", weights.model);
    if (weights.weights.empty()) weights.weights = require_bundled("digits/digits.safetensors");
    loaded_ = load_weights(weights, globals_);
    load_s_ = watch.seconds();
    require(loaded_.model->num_classes() > 0, "classify",
            "{}: {} without a classification head; try: locant features", weights.weights, loaded_.name);
    if (options_.img_size > 0) set_input_size(loaded_.preprocess, options_.img_size);
    if (!options_.labels.empty()) use_labels(loaded_, options_.labels);
    if (options_.multi_label) loaded_.answer = LoadedModel::Answer::each_class;
  }

  void read(const std::string& path, Batch& batch) {
    const Stopwatch watch;
    Tensor input = preprocess(read_image(path, options_.decode), loaded_.preprocess);
    batch.paths.push_back(path);
    batch.inputs.push_back(std::move(input));
    batch.seconds += watch.seconds();
  }

  void flush(Batch& batch, PictureList& list, Progress& progress) {
    progress.finish();  // out of the way of the answers
    if (batch.inputs.empty()) return;
    Stopwatch watch;
    const auto count = static_cast<std::int64_t>(batch.inputs.size());
    const Shape& one = batch.inputs.front().shape();
    Tensor input({count, one[0], one[1], one[2]});
    for (std::int64_t b = 0; b < count; ++b)
      std::copy_n(batch.inputs[static_cast<std::size_t>(b)].data(), one.numel(),
                  input.data() + b * one.numel());
    const double preprocess = batch.seconds + watch.seconds();
    watch.restart();
    const Tensor logits = loaded_.model->forward(Context{}, Var(input)).value();
    const double inference = watch.seconds();
    preprocess_s_ += preprocess;
    inference_s_ += inference;
    const auto each = static_cast<double>(count);
    const AnswerTimes times{load_s_ * 1e3, preprocess / each * 1e3, inference / each * 1e3};
    const bool last = list.stopped();  // the pictures before the one that stopped are answered
    for (std::int64_t b = 0; b < count && list.stopped() == last; ++b) {
      const std::string& path = batch.paths[static_cast<std::size_t>(b)];
      std::string text;
      if (!list.attempt({path, std::nullopt}, [&] { text = answer(path, logits.slice(b, b + 1), times); }))
        continue;
      if (done_ == 0 && !options_.json && !options_.csv && loaded_.answer == LoadedModel::Answer::each_class)
        out("each class by itself (sigmoid)\n");
      write_out(text);  // not within the attempt: a full disk is no picture's failure
      ++done_;
    }
    batch = {};
    if (is_terminal(1)) flush_out();
  }

  /// logits (1, classes). Throws Error where they are not finite: that is this picture's failure alone.
  std::string answer(const std::string& path, const Tensor& logits, const AnswerTimes& times) {
    const std::string bad = not_finite(logits);
    require(bad.empty(), "classify", "{}: the model's output holds {}", path, bad);
    const Prediction prediction = rank_classes(logits, loaded_.classes, options_.top, loaded_.answer)[0];
    return options_.json  ? answer_json(path, loaded_, prediction, times)
           : options_.csv ? answer_csv(path, prediction)
                          : answer_text(path, prediction);
  }

  const Options& options_;
  const GlobalOptions& globals_;
  LoadedModel loaded_;
  double load_s_ = 0.0, preprocess_s_ = 0.0, inference_s_ = 0.0;
  std::int64_t done_ = 0;
};

}  // namespace
}  // namespace classify_command

void add_classify(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<classify_command::Options>();
  CLI::App* sub =
      add_command(app, globals, "classify", "Prints the likeliest classes of pictures, with timings",
                  "locant classify examples/digits\n"
                  "locant classify photo.jpg --weights swin_tiny.safetensors --top 3\n"
                  "cat photo.jpg | locant classify - --weights vit.pth --model vit_base_patch16_224 --json\n",
                  [options, &globals] { return classify_command::Classifier(*options, globals).run(); });
  sub->add_option("PICTURE", options->pictures,
                  "JPEG, PNG, WebP, TIFF or PPM files, folders of them, or - for stdin")
      ->required();
  add_weights_options(
      sub, options->weights,
      "Checkpoint (safetensors, .pth) or folder of the hub; without it the bundled digits model");
  sub->add_option("-k,--top", options->top, "Answers a picture")
      ->type_name("K")
      ->check(CLI::Range(1, 100000));
  add_labels_option(sub, options->labels);
  sub->add_flag("--multi-label", options->multi_label,
                "Each class by itself (sigmoid), not one of all (softmax); a folder may say it too");
  sub->add_option("--img-size", options->img_size, "Input side in pixels; 0: the checkpoint's")
      ->type_name("N")
      ->check(CLI::Range(0, 8192));
  add_decode_options(sub, globals, options->decode);
  sub->add_option("--batch", options->batch, "Pictures that go through the model at once")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  sub->add_flag("--json", options->json, "One JSON object a picture and line");
  sub->add_flag("--csv", options->csv, "A header and a line an answer");
  add_strict(sub, options->strict);
}

}  // namespace locant::cli
