// locant features: class and patch features of pictures, and a picture of what the model sees.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "cli/answers.h"
#include "cli/cli.h"
#include "cli/decode_options.h"
#include "cli/features_values.h"
#include "cli/outputs.h"
#include "cli/panels.h"
#include "cli/picture_list.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "models/sam.h"

namespace locant::cli {
namespace features_command {
namespace {

struct Options {
  std::vector<std::string> pictures;
  WeightsOptions weights;
  std::string output, picture, clip;
  std::optional<std::int64_t> img_size;
  DecodeOptions decode;
  bool crop = false, strict = false;
};

using Tensors = std::vector<std::pair<std::string, Tensor>>;

constexpr std::int64_t kShortSide = 448;

/// "cls", "patches", "attention", "stage_0" and so on for one picture; "NAME.cls", ... for several, a
/// repeated name with its number. `metadata` gets their grids and sizes in pixels, of the file and of what
/// went into the model, each [rows, columns].
Tensors named_tensors(const std::vector<PictureFeatures>& pictures,
                      std::map<std::string, std::string>& metadata) {
  Tensors tensors;
  std::set<std::string> used;
  std::vector<std::string> grids, sizes;
  for (const PictureFeatures& picture : pictures) {
    std::string name = picture.name;
    for (int again = 2; !used.insert(name).second; ++again) name = fmt::format("{}_{}", picture.name, again);
    const std::string prefix = pictures.size() == 1 ? "" : name + ".";
    tensors.emplace_back(prefix + "cls", picture.cls);
    tensors.emplace_back(prefix + "patches", picture.patches);
    if (picture.attention.defined()) tensors.emplace_back(prefix + "attention", picture.attention);
    for (std::size_t i = 0; i < picture.stages.size(); ++i)
      tensors.emplace_back(fmt::format("{}stage_{}", prefix, i), picture.stages[i]);
    if (!picture.strides.empty()) metadata["strides"] = fmt::format("[{}]", fmt::join(picture.strides, ","));
    const auto& extents = picture.patches.shape().extents();
    grids.push_back(
        fmt::format("{}:[{}]", json_string(name), fmt::join(extents.begin(), extents.end() - 1, ",")));
    sizes.push_back(fmt::format(R"({}:{{"picture":[{},{}],"input":[{},{}]}})", json_string(name),
                                picture.rows, picture.columns, picture.photo.rows, picture.photo.columns));
  }
  metadata["grid"] = fmt::format("{{{}}}", fmt::join(grids, ","));
  metadata["sizes"] = fmt::format("{{{}}}", fmt::join(sizes, ","));
  return tensors;
}

using Say = std::function<void(const std::string& line)>;

std::vector<PictureFeatures> all_features(const LoadedModel& loaded, PictureList& list,
                                          const Options& options, const GlobalOptions& globals,
                                          const Say& say) {
  std::vector<PictureFeatures> pictures;
  Progress progress(globals, "features", list.size());
  list.clear_before_warnings(progress);
  std::int64_t seen = 0;
  for (const ListedPicture& picture : list.pictures()) {
    const Stopwatch decode;
    double decode_s = 0.0;
    const bool done = list.attempt(picture, [&] {
      const Image image = read_image(picture.path, options.decode);
      decode_s = decode.seconds();
      pictures.push_back(picture_features(loaded, image, picture.path,
                                          options.crop ? 0 : options.img_size.value_or(kShortSide)));
    });
    if (list.stopped()) list.finish();  // throws before anything is written
    if (done) {
      progress.finish();  // out of the way of the line
      const PictureFeatures& last = pictures.back();
      say(fmt::format("{}: {} x {} patches of {} features from {} x {} pixels, preprocess {}, inference {}",
                      printable(picture.path), last.patches.dim(0), last.patches.dim(1), last.patches.dim(2),
                      last.photo.columns, last.photo.rows, human_seconds(decode_s + last.preprocess_s),
                      human_seconds(last.inference_s)));
    }
    progress.update(++seen);
  }
  return pictures;
}

/// Nothing where no picture could be read.
void write(const std::vector<PictureFeatures>& pictures, const std::string& model, const Options& options,
           const GlobalOptions& globals, const Say& say) {
  if (pictures.empty()) return;
  if (!options.output.empty()) {
    std::map<std::string, std::string> metadata = {{"model", model},
                                                   {"weights", printable(options.weights.weights)},
                                                   {"preprocessing", pictures.front().preprocessing}};
    const auto tensors = named_tensors(pictures, metadata);
    save_safetensors(options.output, tensors, metadata);
    say(fmt::format("wrote {}: {} tensors", output_name(options.output), tensors.size()));
  }
  if (options.picture.empty()) return;
  save_png(options.picture, feature_panels(pictures));
  const bool attention = pictures.front().attention.defined();
  say(fmt::format("wrote {}: photo, principal components{}", output_name(options.picture),
                  attention ? ", attention" : ""));
  if (!attention) note(globals, "{} has no class token: no attention panel", model);
}

/// Of a model of sequences: its outputs for the tensors of a file.
int run_on_values(const Options& options, const GlobalOptions& globals) {
  const std::string& path = options.pictures.front();
  require(!options.output.empty() && options.picture.empty(), "features",
          "{} holds tensors, not a picture: give -o FILE.safetensors alone", path);
  Outputs outputs;
  outputs.add("-o", options.output);
  outputs.keep(options.weights.weights);
  outputs.keep(path);
  banner(globals);
  const LoadedModel loaded = load_weights(options.weights, globals);
  const ValuesRun done = run_values(loaded, path);
  save_safetensors(options.output, done.outputs,
                   {{"model", loaded.name}, {"weights", printable(options.weights.weights)}});
  std::vector<std::string> names;
  for (const auto& [name, tensor] : done.outputs)
    names.push_back(fmt::format("{} {}", name, tensor.shape().str()));
  const std::string line = fmt::format("{}: {} to {}, inference {}", printable(path), done.inputs,
                                       fmt::join(names, ", "), human_seconds(done.inference_s));
  outputs.on_stdout() ? write_note(globals, line) : write_out(line + "\n");
  return 0;
}

/// Of a model of clips: a folder's pictures as the frames of one.
int run_on_clip(const Options& options, const GlobalOptions& globals) {
  require(options.pictures.empty(), "features", "--clip {}: give the clip or pictures, not both",
          options.clip);
  require(!options.output.empty() && options.picture.empty() && !options.img_size, "features",
          "--clip takes -o FILE.safetensors, and neither --picture nor --img-size");
  PictureList list(globals, {options.clip}, true);
  Outputs outputs;
  outputs.add("-o", options.output);
  outputs.keep(options.weights.weights);
  for (const ListedPicture& picture : list.pictures()) outputs.keep(picture.path);
  banner(globals);
  const LoadedModel loaded = load_weights(options.weights, globals);
  std::vector<Image> frames;
  for (const ListedPicture& picture : list.pictures())
    if (!list.attempt(picture, [&] { frames.push_back(read_image(picture.path, options.decode)); }))
      return list.finish();
  const PictureFeatures clip = clip_features(loaded, frames, options.clip);
  std::map<std::string, std::string> metadata = {{"model", loaded.name},
                                                 {"weights", printable(options.weights.weights)},
                                                 {"preprocessing", clip.preprocessing}};
  const Tensors tensors = named_tensors({clip}, metadata);
  save_safetensors(options.output, tensors, metadata);
  const std::string line = fmt::format("{}: {} frames, {} patches, preprocess {}, inference {}",
                                       printable(options.clip), frames.size(), clip.patches.shape().str(),
                                       human_seconds(clip.preprocess_s), human_seconds(clip.inference_s));
  outputs.on_stdout() ? write_note(globals, line) : write_out(line + "\n");
  return list.finish();
}

int run(const Options& options, const GlobalOptions& globals) {
  if (!options.clip.empty()) return run_on_clip(options, globals);
  require(!options.pictures.empty(), "features", "no PICTURE was given");
  if (options.pictures.size() == 1 && holds_values(options.pictures.front()))
    return run_on_values(options, globals);
  require(!options.output.empty() || !options.picture.empty(), "features",
          "nowhere to write: give -o FILE.safetensors, --picture FILE.png or both");
  PictureList list(globals, options.pictures, options.strict);
  Outputs outputs;
  outputs.add("-o", options.output);
  outputs.add("--picture", options.picture);
  outputs.keep(options.weights.weights);
  for (const ListedPicture& picture : list.pictures()) outputs.keep(picture.path);
  const std::string suffix = std::filesystem::path(options.output).extension().string();
  require(suffix.empty() || suffix == ".safetensors", "features",
          "-o {}: features are written as safetensors; give it a name that ends in .safetensors, or -",
          options.output);
  const auto say = [&](const std::string& line) {
    outputs.on_stdout() ? write_note(globals, line) : write_out(line + "\n");
  };
  banner(globals);
  const Stopwatch watch;
  LoadedModel loaded = load_weights(options.weights, globals);
  const double load_s = watch.seconds();
  const std::string first = loaded.model->inputs().front().name;
  require(first != "clips", "features", "{} sees clips: give a folder of frames as --clip", loaded.name);
  require(first == "images", "features", "{} sees no pictures; give a .safetensors file that holds its {}",
          loaded.name, first);
  if (const auto* sam = dynamic_cast<const Sam*>(loaded.model.get()))
    require(
        !options.crop && options.img_size.value_or(sam->image_size()) == sam->image_size(), "features",
        "{}: the long side of Segment Anything's pictures is {} and nothing is cropped; leave --img-size and "
        "--crop out",
        loaded.name, sam->image_size());
  if (options.crop && options.img_size) set_input_size(loaded.preprocess, *options.img_size);

  const std::vector<PictureFeatures> pictures = all_features(loaded, list, options, globals, say);
  write(pictures, loaded.name, options, globals, say);
  say(fmt::format("load {} ({})", human_seconds(load_s), printable(loaded.name)));
  return list.finish();
}

}  // namespace
}  // namespace features_command

void add_features(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<features_command::Options>();
  CLI::App* sub = add_command(
      app, globals, "features", "Writes class and patch features, and a picture of what the model sees",
      "locant features cat.png --weights weights/dinov2_vits14.safetensors --picture cat_seen.png\n"
      "locant features photos --weights weights/dinov2_vits14.safetensors -o features.safetensors --img-size "
      "224\n"
      "locant features --clip frames --weights swin_tiny_patch244_window877_kinetics400_1k.pth -o "
      "clip.safetensors\n"
      "locant features ids.safetensors --weights deberta-v3-base -o text.safetensors\n",
      [options, &globals] { return run(*options, globals); });
  sub->add_option(
      "PICTURE", options->pictures,
      "JPEG, PNG, WebP, TIFF or PPM files, folders of them, or - for stdin; of a model of sequences "
      "a .safetensors file of its inputs (ids, masks, frames of features) by their names");
  add_weights_options(sub, options->weights, "Checkpoint (safetensors, .pth) or folder of the hub")
      ->required();
  sub->add_option("--clip", options->clip,
                  "A folder whose pictures, by name, are the frames of a clip, for models of clips; each is "
                  "prepared as with --crop")
      ->type_name("FOLDER");
  sub->add_option(
         "-o,--output", options->output,
         "safetensors: cls (C), patches (rows, columns, C), attention (heads, rows, columns), of pyramids "
         "stage_0 and on; with several pictures NAME.cls and so on; the grids in its metadata; of sequences "
         "the "
         "model's outputs by name; - for stdout")
      ->type_name("FILE");
  sub->add_option(
         "--picture", options->picture,
         "PNG: the photo, three principal components of the patches as colours, attention of the last layer; "
         "- for stdout")
      ->type_name("FILE");
  sub->add_option(
         "--img-size", options->img_size,
         "Short side in pixels; the aspect is kept, up to whole patches. Without it 448, with --crop the "
         "checkpoint's. Segment Anything has its own long side")
      ->type_name("N")
      ->check(CLI::Range(1, 8192));
  sub->add_flag(
      "--crop", options->crop,
      "Pictures as the model's library evaluates it, resized and their middle cut out, in place of the "
      "whole picture");
  add_decode_options(sub, globals, options->decode);
  add_strict(sub, options->strict);
}

}  // namespace locant::cli
