#include "cli/segment_options.h"

#include <CLI/CLI.hpp>

namespace locant::cli {
namespace segment_options_command {
namespace {

void add_generator_options(CLI::App* sub, CLI::Option* everything, MaskGeneratorOptions& g) {
  const auto add = [&](const char* flag, auto& value, const char* type, const char* what) {
    sub->add_option(flag, value, what)->type_name(type)->group("everything")->needs(everything);
  };
  add("--points-per-side", g.points_per_side, "N", "Points along each side of the grid");
  add("--points-per-batch", g.points_per_batch, "N", "Points answered at once");
  add("--pred-iou-thresh", g.pred_iou_thresh, "X", "Least predicted IoU of a mask");
  add("--stability-score-thresh", g.stability_score_thresh, "X", "Least stability of a mask");
  add("--stability-score-offset", g.stability_score_offset, "X",
      "Shift of the logits that stability is measured by");
  add("--box-nms-thresh", g.box_nms_thresh, "X", "IoU of boxes above which the lesser mask goes");
  add("--crop-n-layers", g.crop_n_layers, "N", "Layers of crops: layer i has 4^i");
  add("--crop-nms-thresh", g.crop_nms_thresh, "X", "The same between crops");
  add("--crop-overlap-ratio", g.crop_overlap_ratio, "X", "Overlap of crops, part of the shorter side");
  add("--crop-n-points-downscale-factor", g.crop_n_points_downscale_factor, "N",
      "Points a side in layer i are divided by this to the power of i");
  add("--min-mask-region-area", g.min_mask_region_area, "N", "Smaller holes and islands go, in pixels");
}

}  // namespace
}  // namespace segment_options_command

void add_segment_options(CLI::App* sub, SegmentOptions& o) {
  sub->add_option("PICTURE", o.picture, "JPEG, PNG, WebP, TIFF or PPM file, or - for stdin")->required();
  add_embedding_options(sub, o.embedding);
  sub->add_flag("--no-cache", o.embedding.no_cache, "Neither use nor keep the picture's embedding");
  sub->add_option("--point", o.points, "A point of the object; again for more")
      ->type_name("X,Y")
      ->allow_extra_args(false);
  sub->add_option("--negative-point", o.negative_points, "A point that is not of it")
      ->type_name("X,Y")
      ->allow_extra_args(false);
  sub->add_option("--box", o.boxes, "A box around the object; several boxes are several objects")
      ->type_name("X0,Y0,X1,Y1")
      ->allow_extra_args(false);
  sub->add_option("--mask", o.mask, "An earlier answer to refine: what --logits wrote")->type_name("FILE");
  sub->add_option("--prompts", o.prompts,
                  "JSON list of prompts: {\"points\": [[x, y]], \"labels\": [1], \"box\": [x0, y0, x1, y1], "
                  "\"id\": 7}; boxes, point_coords and point_labels too")
      ->type_name("FILE");
  CLI::Option* multimask =
      sub->add_flag("--multimask", o.multimask, "Three masks a prompt: whole, part, subpart");
  CLI::Option* everything =
      sub->add_flag("--everything", o.everything, "Masks of everything in the picture, by a grid of points")
          ->excludes(multimask);
  sub->add_option("-o,--output", o.output, "PNG, white where the mask is; NAME_1.png, .. for several")
      ->type_name("FILE");
  sub->add_option("--overlay", o.overlay, "PNG: the picture with the masks in colours")->type_name("FILE");
  sub->add_option("--coco", o.coco, "COCO data set: images, annotations, categories")->type_name("FILE");
  sub->add_option("--logits", o.logits,
                  "safetensors: low_res_logits, logits at the picture's size, iou_predictions")
      ->type_name("FILE");
  sub->add_flag("--json", o.json, "The masks on stdout, as the official generator's records");
  segment_options_command::add_generator_options(sub, everything, o.generator);
}

}  // namespace locant::cli
