// locant segment: masks of Segment Anything from points, boxes and earlier masks, or of everything.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "cli/decode_options.h"
#include "cli/outputs.h"
#include "cli/segment_logits.h"
#include "cli/segment_options.h"
#include "cli/segment_output.h"
#include "cli/segment_prompts.h"
#include "cli/train_report.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "segment/predictor.h"

namespace locant::cli {
namespace segment_command {
namespace {

/// What the options ask; the mask of --mask is in it.
std::vector<NamedPrompt> prompts_of(const SegmentOptions& o, const std::optional<MaskPrompt>& mask) {
  if (!o.prompts.empty()) {
    require(o.points.empty() && o.negative_points.empty() && o.boxes.empty() && o.mask.empty(), "segment",
            "--prompts and --point, --negative-point, --box or --mask exclude each other");
    return read_prompts(o.prompts);
  }
  SamPrompt one;
  for (const std::string& text : o.points) one.points.push_back(parse_point(text));
  one.labels.assign(one.points.size(), 1);
  for (const std::string& text : o.negative_points) one.points.push_back(parse_point(text));
  one.labels.resize(one.points.size(), 0);
  if (mask) one.mask_input = mask->logits;
  require(
      o.boxes.size() <= 1 || (one.points.empty() && o.mask.empty()), "segment",
      "several boxes are prompts of their own; points or a mask beside them belong into --prompts FILE.json");
  require(!o.boxes.empty() || !one.points.empty() || mask, "segment",
          "nothing is asked: give --point X,Y, --box X0,Y0,X1,Y1, --prompts FILE.json or --everything");
  std::vector<NamedPrompt> out;
  for (const std::string& text : o.boxes) {
    out.push_back({one});
    out.back().prompt.box = {parse_box(text)};
    if (o.boxes.size() > 1)
      out.back().prompt.name = fmt::format("--box {} of {}", out.size(), o.boxes.size());
  }
  if (o.boxes.empty()) out.push_back({one});
  return out;
}

/// What is taken as it is, but may be a slip.
void warn_of_prompts(const std::vector<NamedPrompt>& prompts, const std::optional<MaskPrompt>& mask,
                     const SegmentOptions& o, const PictureFile& picture, ImageSize size) {
  std::string first;
  std::size_t count = 0;
  for (const NamedPrompt& one : prompts) {
    const std::string outside = outside_of(one.prompt, size);
    if (outside.empty()) continue;
    if (++count == 1) first = (one.prompt.name.empty() ? "" : one.prompt.name + ": ") + outside;
  }
  if (count > 0)
    warn(fmt::format("{} lies outside the picture of {} x {} pixels{}; it is taken as it is", first,
                     size.columns, size.rows,
                     count == 1 ? "" : fmt::format(" (as in {} more prompts)", count - 1)));
  if (!mask) return;
  const std::string why = foreign(*mask, picture);
  if (!why.empty()) warn(fmt::format("--mask {} {}; it is used as it is", o.mask, why));
}

/// One file for one mask; NAME_1.png, NAME_2.png, .. for several.
std::string numbered(const std::string& path, std::size_t n, std::size_t count) {
  if (count == 1) return path;
  const std::size_t dot = path.find_last_of('.'), slash = path.find_last_of('/');
  const bool has = dot != std::string::npos && (slash == std::string::npos || dot > slash);
  return fmt::format("{}_{}{}", has ? path.substr(0, dot) : path, n + 1, has ? path.substr(dot) : "");
}

/// All that will be written, none of it onto what is read.
Outputs outputs_of(const SegmentOptions& o, std::size_t prompts) {
  Outputs out;
  const std::size_t masks = o.everything ? 1 : prompts * (o.multimask ? 3 : 1);
  require(o.output != "-" || masks == 1, "output",
          "-o - would put {} pictures one after the other; give -o NAME.png, or ask for one mask", masks);
  for (std::size_t n = 0; n < masks && !o.output.empty(); ++n) out.add("-o", numbered(o.output, n, masks));
  out.add("--overlay", o.overlay);
  out.add("--coco", o.coco, Outputs::Kind::text);
  out.add("--logits", o.logits);
  if (o.json) out.add("--json", "-", Outputs::Kind::text);
  for (const std::string& input : {o.picture, o.embedding.weights, o.prompts, o.mask}) out.keep(input);
  return out;
}

struct Answers {
  std::vector<SegmentMask> masks;
  std::vector<std::pair<std::string, Tensor>> logits;
};

Answers answer(const SegmentOptions& o, const SamPredictor& predictor,
               const std::vector<NamedPrompt>& prompts) {
  Answers out;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const SamPrediction prediction = predictor.predict(prompts[p].prompt, o.multimask);
    const std::vector<Mask> masks = prediction.masks();
    for (std::size_t m = 0; m < masks.size(); ++m)
      out.masks.push_back({.rle = mask_to_rle(masks[m]),
                           .predicted_iou = prediction.iou[static_cast<std::int64_t>(m)],
                           .prompt = static_cast<std::int64_t>(p),
                           .id = prompts[p].id});
    if (o.logits.empty()) continue;
    const std::string prefix = prompts.size() == 1 ? "" : fmt::format("{}.", p);
    out.logits.emplace_back(prefix + "low_res_logits", prediction.low_res);
    out.logits.emplace_back(prefix + "logits", prediction.logits());
    out.logits.emplace_back(prefix + "iou_predictions", prediction.iou);
  }
  return out;
}

std::vector<SegmentMask> generate(const SegmentOptions& o, std::shared_ptr<PointPredictor> predictor,
                                  const Image& picture, const GlobalOptions& globals) {
  const StopSignals signals;
  std::optional<Progress> bar;
  const MaskGenerator generator(std::move(predictor), o.generator);
  std::vector<SegmentMask> out;
  const auto progress = [&](const MaskGeneratorProgress& p) {
    if (!bar) bar.emplace(globals, "segment", p.points_in_all);
    bar->update(p.points, fmt::format("{} masks", p.candidates));
    return !stop_requested();
  };
  for (const MaskRecord& record : generator.generate(picture, progress))
    out.push_back({.rle = record.segmentation,
                   .predicted_iou = record.predicted_iou,
                   .prompt = -1,
                   .stability_score = record.stability_score,
                   .point_coords = record.point_coords,
                   .crop_box = record.crop_box});
  return out;
}

void write(const SegmentOptions& o, const PictureFile& picture, ImageSize size, const Answers& answers,
           const Outputs& outputs, const LoadedSam& model, const GlobalOptions& globals) {
  const std::vector<SegmentMask>& masks = answers.masks;
  const bool together = o.everything && !o.output.empty();  // hundreds of masks are one picture
  if (together) save_png(o.output, masks_picture(size, masks));
  for (std::size_t n = 0; n < masks.size() && !o.output.empty() && !together; ++n)
    save_png(numbered(o.output, n, masks.size()), mask_picture(rle_to_mask(masks[n].rle)));
  if (!o.overlay.empty()) save_png(o.overlay, overlay_picture(picture.image(), masks));
  if (!o.coco.empty()) {
    save_text(o.coco, coco_json(o.picture, size, masks) + "\n");
    const auto empty = std::count_if(masks.begin(), masks.end(),
                                     [](const SegmentMask& mask) { return area_from_rle(mask.rle) == 0; });
    if (empty > 0)
      warn(fmt::format("{}: {} of {} masks have no pixel and are left out", o.coco, empty, masks.size()));
  }
  if (!o.logits.empty()) write_logits(o.logits, answers.logits, picture);
  if (o.json) {
    out("{}\n", printable_json(masks_json(o.picture, size, masks, loaded_json(model))));
    return;
  }
  const auto say = [&](const std::string& line) {
    outputs.on_stdout() ? write_note(globals, line) : write_out(line + "\n");
  };
  if (o.everything) return say(fmt::format("{}: {} masks", printable(o.picture), masks.size()));
  for (std::size_t n = 0; n < masks.size(); ++n) {
    const PixelBox box = rle_to_box(masks[n].rle);
    say(fmt::format("prompt {}{}: mask of {} pixels in {},{} to {},{}, predicted IoU {:.3f}{}",
                    masks[n].prompt + 1, masks[n].id.empty() ? "" : " (id " + printable(masks[n].id) + ")",
                    area_from_rle(masks[n].rle), box.x0, box.y0, box.x1, box.y1, masks[n].predicted_iou,
                    o.output.empty() ? "" : " -> " + output_name(numbered(o.output, n, masks.size()))));
  }
}

void check(const SegmentOptions& o) {
  const bool asks = !o.points.empty() || !o.negative_points.empty() || !o.boxes.empty() ||
                    !o.prompts.empty() || !o.mask.empty() || !o.logits.empty();
  require(!o.everything || !asks, "segment",
          "--everything goes with no point, box, mask, prompts or logits: it asks by itself");
  require(!o.output.empty() || !o.overlay.empty() || !o.coco.empty() || !o.logits.empty() || o.json,
          "segment", "nowhere to write: give -o MASK.png, --overlay, --coco, --logits or --json");
}

int run(SegmentOptions o, const GlobalOptions& globals) {
  check(o);
  o.embedding = with_image_size(o.embedding);
  std::optional<MaskPrompt> mask;
  if (!o.mask.empty()) mask = read_mask_prompt(o.mask);
  const std::vector<NamedPrompt> prompts = o.everything ? std::vector<NamedPrompt>() : prompts_of(o, mask);
  for (const NamedPrompt& one : prompts)  // before the picture is encoded
    check_sam_prompt(one.prompt, o.embedding.image_size);
  const Outputs outputs = outputs_of(o, prompts.size());

  banner(globals);
  const PictureFile picture(o.picture, o.embedding.decode);
  Embeddings embeddings(o.embedding, globals, CacheUse::helps,
                        [&](const std::string& text) { write_note(globals, text); });
  std::optional<PictureEmbedding> embedding = embeddings.find(picture);
  const ImageSize size =
      embedding ? embedding->original : ImageSize{picture.image().rows, picture.image().columns};
  warn_of_prompts(prompts, mask, o, picture, size);
  if (!embedding) {
    const Stopwatch watch;
    embedding = embeddings.encode(picture);
    embeddings.keep(picture, *embedding);
    note(globals, "{}: encoded by {} in {}", o.picture, embeddings.model(Sam::Parts::decoder).name,
         human_seconds(watch.seconds()));
  }
  Answers answers;
  if (o.everything) {
    // With crops every crop is a picture of its own: the encoder is needed whatever the cache holds.
    const bool crops = o.generator.crop_n_layers > 0;
    const LoadedSam& model = embeddings.model(crops ? Sam::Parts::all : Sam::Parts::decoder);
    answers.masks =
        generate(o, std::make_shared<CachedPredictor>(model.sam, *embedding), picture.image(), globals);
  } else {
    SamPredictor predictor(embeddings.model(Sam::Parts::decoder).sam);
    predictor.set_embedding(*embedding);
    answers = answer(o, predictor, prompts);
  }
  write(o, picture, size, answers, outputs, embeddings.model(Sam::Parts::decoder), globals);
  return kOk;
}

int run_until_interrupted(const SegmentOptions& o, const GlobalOptions& globals) {
  try {
    return run(o, globals);
  } catch (const Cancelled&) {
    warn("interrupted; nothing was written");
    return kInterrupted;
  }
}

}  // namespace
}  // namespace segment_command

void add_segment(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<SegmentOptions>();
  CLI::App* sub = add_command(
      app, globals, "segment", "Cuts objects out of a picture: Segment Anything's masks",
      "locant segment photo.jpg --weights sam_vit_b_01ec64.pth --point 500,375 -o mask.png\n"
      "locant segment photo.jpg --weights sam_vit_b_01ec64.pth --box 75,275,1725,850 --negative-point "
      "500,600 "
      "--overlay seen.png\n"
      "locant segment photo.jpg --weights mobile_sam.pt --everything --coco masks.json --overlay "
      "all.png\n",
      [options, &globals] { return segment_command::run_until_interrupted(*options, globals); });
  add_segment_options(sub, *options);
  add_decode_options(sub, globals, options->embedding.decode);
}

}  // namespace locant::cli
