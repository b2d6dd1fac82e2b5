// locant embed: image embeddings ahead of prompts, one file a picture.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "cli/embeddings.h"
#include "cli/train_report.h"
#include "core/error.h"
#include "segment/cancelled.h"

namespace locant::cli {
namespace {

struct Options {
  EmbeddingOptions embedding;
  std::vector<std::string> pictures;
  bool json = false;
};

int run(const Options& o, const GlobalOptions& globals) {
  const std::vector<std::string> paths = expand_pictures(o.pictures);
  banner(globals);
  const StopSignals signals;
  Progress progress(globals, "embed", static_cast<std::int64_t>(paths.size()));
  Embeddings embeddings(o.embedding, globals, CacheUse::needed,
                        [&](const std::string& text) { progress.line(text); });
  const ResizeLongestSide transform(o.embedding.image_size);
  std::int64_t made = 0, there = 0, failed = 0;
  for (const std::string& path : paths) {
    if (stop_requested()) break;
    progress.update(made + there + failed);
    std::optional<PictureFile> picture;
    bool fresh = false;
    try {  // a picture that cannot be read must not cost the others; a model or a folder that cannot be is
           // the end
      picture.emplace(path);
      fresh = embeddings.find(*picture, false).has_value();
      if (!fresh) transform.target_size({picture->image().rows, picture->image().columns});  // not too thin
    } catch (const Error& error) {
      if (paths.size() == 1) throw;
      ++failed;
      progress.finish();
      warn(fmt::format("{}: {}", path, error.what()));
      continue;
    }
    if (!fresh) embeddings.make(*picture);
    ++(fresh ? there : made);
    if (o.json)
      out("{{\"picture\":{},\"embedding\":{},\"made\":{}}}\n", json_string(path),
          json_string(embeddings.path_of(*picture)), !fresh);
  }
  progress.finish();
  if (!o.json) out("{} embedded, {} there already, {} not read\n", made, there, failed);
  if (stop_requested()) {
    warn("interrupted; what was made is kept, and the next run goes on from here");
    return kInterrupted;
  }
  return failed > 0 ? kUserError : kOk;
}

int run_until_interrupted(const Options& o, const GlobalOptions& globals) {
  try {
    return run(o, globals);
  } catch (const Cancelled&) {  // before the first picture
    warn("interrupted; nothing was written");
    return kInterrupted;
  }
}

}  // namespace

void add_embed(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<Options>();
  CLI::App* sub =
      add_command(app, globals, "embed", "Computes the image embeddings that `segment` answers prompts from",
                  "locant embed photos --weights sam_vit_b_01ec64.pth\n"
                  "locant embed photos --weights mobile_sam.pt --cache embeddings --json\n",
                  [options, &globals] { return run_until_interrupted(*options, globals); });
  sub->add_option("PICTURE", options->pictures, "JPEG, PNG, WebP or PPM files, or folders of them")
      ->required();
  add_embedding_options(sub, options->embedding);
  sub->add_flag("--json", options->json, "One JSON object a picture");
}

}  // namespace locant::cli
