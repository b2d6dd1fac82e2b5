// locant features: class and patch features of pictures, and a picture of what the model sees.
#include <CLI/CLI.hpp>
#include <memory>
#include <set>

#include "cli/cli.h"
#include "cli/decode_options.h"
#include "cli/panels.h"
#include "core/error.h"

namespace locant::cli {
namespace {

struct Options {
  std::vector<std::string> pictures;
  std::string model, weights, output, picture;
  std::int64_t img_size = 448;
  DecodeOptions decode;
};

/// "cls", "patches", "attention" for one picture; "NAME.cls", ... for several, a repeated name with its
/// number.
std::vector<std::pair<std::string, Tensor>> named_tensors(const std::vector<PictureFeatures>& pictures,
                                                          std::string& grid) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::set<std::string> used;
  std::vector<std::string> grids;
  for (const PictureFeatures& picture : pictures) {
    std::string name = picture.name;
    for (int again = 2; !used.insert(name).second; ++again) name = fmt::format("{}_{}", picture.name, again);
    const std::string prefix = pictures.size() == 1 ? "" : name + ".";
    tensors.emplace_back(prefix + "cls", picture.cls);
    tensors.emplace_back(prefix + "patches", picture.patches);
    if (picture.attention.defined()) tensors.emplace_back(prefix + "attention", picture.attention);
    grids.push_back(
        fmt::format("{}:[{},{}]", json_string(name), picture.patches.dim(0), picture.patches.dim(1)));
  }
  grid = fmt::format("{{{}}}", fmt::join(grids, ","));
  return tensors;
}

int run(const Options& options, const GlobalOptions& globals) {
  require(!options.output.empty() || !options.picture.empty(), "features",
          "nowhere to write: give -o FILE.safetensors, --picture FILE.png or both");
  for (const std::string& file : {options.output, options.picture})
    if (!file.empty()) require_writable(file);
  const std::vector<std::string> paths = expand_pictures(options.pictures);
  banner(globals);
  const Stopwatch watch;
  const LoadedModel loaded = load_model(options.weights, {.model = options.model});
  const double load_s = watch.seconds();
  for (const std::string& line : loaded.notes) write_note(globals, line);

  std::vector<PictureFeatures> pictures;
  Progress progress(globals, "features", static_cast<std::int64_t>(paths.size()));
  for (const std::string& path : paths) {
    const Stopwatch decode;
    const Image picture = read_image(path, options.decode);
    const double decode_s = decode.seconds();
    pictures.push_back(picture_features(loaded, picture, path, options.img_size));
    const PictureFeatures& last = pictures.back();
    progress.finish();  // out of the way of the line
    out("{}: {} x {} patches of {} features from {} x {} pixels, preprocess {}, inference {}\n", path,
        last.patches.dim(0), last.patches.dim(1), last.patches.dim(2), last.photo.columns, last.photo.rows,
        human_seconds(decode_s + last.preprocess_s), human_seconds(last.inference_s));
    progress.update(static_cast<std::int64_t>(pictures.size()));
  }
  progress.finish();

  if (!options.output.empty()) {
    std::string grid;
    const auto tensors = named_tensors(pictures, grid);
    write_safetensors(options.output, tensors,
                      {{"model", loaded.name}, {"grid", grid}, {"weights", options.weights}});
    out("wrote {}: {} tensors\n", options.output, tensors.size());
  }
  if (!options.picture.empty()) {
    write_png(options.picture, feature_panels(pictures));
    const bool attention = pictures.front().attention.defined();
    out("wrote {}: photo, principal components{}\n", options.picture, attention ? ", attention" : "");
    if (!attention) note(globals, "{} has no class token: no attention panel", loaded.name);
  }
  out("load {} ({})\n", human_seconds(load_s), loaded.name);
  return kOk;
}

}  // namespace

void add_features(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = add_command(
      app, globals, "features", "Writes class and patch features, and a picture of what the model sees",
      "locant features cat.png --weights weights/dinov2_vits14.safetensors --picture cat_seen.png\n"
      "locant features photos --weights weights/dinov2_vits14.safetensors -o features.safetensors --img-size "
      "224\n",
      [options, &globals] { return run(*options, globals); });
  sub->add_option("PICTURE", options->pictures,
                  "JPEG, PNG, WebP, TIFF or PPM files, folders of them, or - for stdin")
      ->required();
  sub->add_option("--weights", options->weights, "Checkpoint: safetensors or .pth")
      ->type_name("FILE")
      ->required();
  sub->add_option("--model", options->model, "Model name (locant list); without it the checkpoint tells")
      ->type_name("NAME");
  sub->add_option(
         "-o,--output", options->output,
         "safetensors: cls (C), patches (rows, columns, C), attention (heads, rows, columns); with several "
         "pictures NAME.cls and so on; the grids in its metadata")
      ->type_name("FILE");
  sub->add_option(
         "--picture", options->picture,
         "PNG: the photo, three principal components of the patches as colours, attention of the last layer")
      ->type_name("FILE");
  sub->add_option("--img-size", options->img_size,
                  "Short side in pixels; the aspect is kept, up to whole patches")
      ->type_name("N")
      ->check(CLI::Range(1, 8192));
  add_decode_options(sub, globals, options->decode);
}

}  // namespace locant::cli
