// Pictures of a timeline: hand-written SVG 1.1 that browsers, GitHub and librsvg show alike. Drawn
// to scale, 1000 units wide; what does not fit is left out, never squeezed.
#include <algorithm>
#include <cmath>
#include <iomanip>

#include "core/simulate/timeline.h"
#include "kernels/common/errors.h"

namespace seq1f1b::simulate {
namespace {

using schedule::Action;
using schedule::Kind;
using schedule::Schedule;

constexpr double kWidth = 1000, kMargin = 20, kLeft = 82, kRight = 926;  // kLeft..kRight: time
constexpr double kTop = 96, kRowPitch = 36, kRowHeight = 28, kBelow = 52;
constexpr double kLargestFont = 12, kStackedFont = 10, kSmallestFont = 8;
constexpr double kCharacter = 0.58;  // width of a digit, in font sizes
// Of the title: it shrinks to fit between the margins, and is cut short beyond that.
constexpr double kTitleFont = 20, kSmallestTitleFont = 11;
constexpr double kBoldCharacter =
    0.66;  // mean width in the widest of the fonts below, in font sizes
constexpr std::size_t kMostHints = 4'000;  // boxes up to which each has a hint for the mouse

// Blue, orange and green are told apart by colour-blind eyes, too. The tints alternate with the
// micro-batch, so that its segments are seen as one.
constexpr const char* kStyle = R"(<style>
text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#24292f}
.box text{text-anchor:middle;fill:#fff}
.t{font-weight:600}
.s{font-size:13px;fill:#57606a}
.r{font-size:13px;text-anchor:end}
.p{font-size:12px;fill:#57606a}
.a{font-size:11px;fill:#57606a;text-anchor:middle}
.idle{fill:#eaeef2}
.grid{stroke:#afb8c1;stroke-width:1}
.F0{fill:#1f5fa8}.F1{fill:#4b8bd0}
.B0{fill:#b85c00}.B1{fill:#dc8428}
.W0{fill:#2b7d55}.W1{fill:#55a57d}
.chunk{opacity:.72}
</style>
)";

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

// Two digits after the point are a hundredth of a pixel; trailing zeros would double the file.
std::string number(double value) {
  const double rounded = std::round(value * 100) / 100;
  std::ostringstream stream;
  stream << std::setprecision(8) << (rounded == 0 ? 0 : rounded);
  return stream.str();
}

std::string percent(double share) {
  return concat(std::fixed, std::setprecision(1), 100 * std::max(0.0, share), " %");
}

class Picture {
 public:
  Picture(const Schedule& schedule, const Timeline& timeline)
      : schedule_(schedule), timeline_(timeline), kinds_(schedule::kinds_of(schedule.features)) {
    std::size_t actions = 0;
    for (const schedule::Order& order : schedule.orders) actions += order.size();
    hints_ = actions <= kMostHints;
  }

  std::string draw(const std::string& title) {
    const double bottom = kTop + kRowPitch * static_cast<double>(schedule_.orders.size());
    const std::string height = number(bottom + kBelow);
    add("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", kWidth, " ", height,
        "\" width=\"", kWidth, "\" height=\"", height, "\" role=\"img\">\n<title>", escaped(title),
        "</title>\n", kStyle, "<rect width=\"", kWidth, "\" height=\"", height,
        "\" rx=\"8\" fill=\"#fff\"/>\n");
    draw_title(title);
    draw_legend();
    draw_axis(bottom);
    for (std::size_t rank = 0; rank < schedule_.orders.size(); ++rank) draw_rank(rank);
    add("</svg>\n");
    return std::move(svg_).str();
  }

 private:
  template <class... Parts>
  void add(const Parts&... parts) {
    (svg_ << ... << parts);
  }
  void text(const char* style, double x, double y, const std::string& content) {
    add("<text class=\"", style, "\" x=\"", number(x), "\" y=\"", number(y), "\">", content,
        "</text>\n");
  }
  void draw_title(const std::string& title) {
    constexpr double kSpace = kWidth - 2 * kMargin;
    const auto most = static_cast<std::size_t>(kSpace / (kBoldCharacter * kSmallestTitleFont));
    const std::string shown = title.size() <= most ? title : title.substr(0, most - 3) + "...";
    const double fitting = kSpace / (kBoldCharacter * static_cast<double>(shown.size()));
    add("<text class=\"t\" x=\"", kMargin,
        "\" y=\"36\" style=\"font-size:", number(std::min(kTitleFont, fitting)), "px\">",
        escaped(shown), "</text>\n");
  }

  // An empty step is drawn as empty rows.
  double x_of(double time) const {
    return timeline_.makespan > 0 ? kLeft + (kRight - kLeft) * time / timeline_.makespan : kLeft;
  }

  void draw_legend() {
    double x = kMargin;
    const double y = 66;
    const auto entry = [&](const std::string& style, const std::string& name) {
      add("<rect class=\"", style, "\" x=\"", number(x), "\" y=\"", y - 11,
          "\" width=\"14\" height=\"14\" rx=\"2\"/>");
      text("s", x + 20, y, name);
      x += 44 + 6.6 * static_cast<double>(name.size());
    };
    for (const schedule::KindRow& row : schedule::action_table())
      if (kinds_.has(row.kind)) {
        std::string name = row.name;
        std::ranges::replace(name, '_', ' ');
        entry(concat(row.letter, '0'), name);
      }
    entry("idle", concat("idle: bubble ", percent(timeline_.bubble)));
    text("s", x, y,
         schedule_.spec.segments > 1 ? "numbers: micro-batch.segment (stacked where narrow)"
                                     : "numbers: micro-batch");
    add("<text class=\"p\" x=\"", kRight + 8, "\" y=\"", kTop - 8, "\">idle</text>\n");
  }

  // Shares, not times: the unit of the cost model is none of the picture's business.
  void draw_axis(double bottom) {
    const double y = bottom + 2;
    add("<path class=\"grid\" d=\"M", kLeft, ' ', number(y), "H", kRight);
    constexpr int kTicks = 10;
    const auto tick_x = [&](int tick) { return kLeft + (kRight - kLeft) * tick / kTicks; };
    for (int tick = 0; tick <= kTicks; ++tick) add('M', number(tick_x(tick)), ' ', number(y), "v5");
    add("\"/>\n");
    for (int tick = 0; tick <= kTicks; ++tick)
      text("a", tick_x(tick), y + 18, concat(100 * tick / kTicks, " %"));
    text("a", (kLeft + kRight) / 2, y + 36, "time, as a share of the step");
  }

  void draw_rank(std::size_t rank) {
    const double y = kTop + kRowPitch * static_cast<double>(rank);
    text("r", kLeft - 10, y + kRowHeight / 2 + 5, concat("rank ", rank));
    add("<rect class=\"idle\" x=\"", kLeft, "\" y=\"", number(y), "\" width=\"", kRight - kLeft,
        "\" height=\"", kRowHeight, "\"/>\n<g class=\"box\">\n");
    const schedule::Order& order = schedule_.orders[rank];
    for (std::size_t index = 0; index < order.size(); ++index)
      draw_box(order[index], timeline_.spans[rank][index], y);
    add("</g>\n");
    if (timeline_.makespan > 0)
      text("p", kRight + 8, y + kRowHeight / 2 + 4,
           percent(timeline_.idle[rank] / timeline_.makespan));
  }

  void draw_box(const Action& action, const Span& span, double y) {
    const double x = x_of(span.start), width = x_of(span.end) - x;
    if (width <= 0) return;
    // A hairline between boxes, unless they are too thin to spare it.
    const double gap = width > 4 ? 0.8 : 0;
    const std::string name = to_string(action).substr(1);
    add("<rect class=\"", schedule::row_of(action.kind).letter, action.unit.micro_batch % 2,
        action.chunk % 2 == 1 ? " chunk" : "", "\" x=\"", number(x), "\" y=\"", number(y),
        "\" width=\"", number(width - gap), "\" height=\"", kRowHeight, '"');
    if (hints_)
      add("><title>", schedule::row_of(action.kind).name, ' ', name, "</title></rect>");
    else
      add("/>");
    draw_label(name, x + (width - gap) / 2, width - gap - 2, y + kRowHeight / 2);
    add('\n');
  }

  // "3.2" centred on (x, y), or "3" above "2" where that is too wide, or nothing.
  void draw_label(const std::string& name, double x, double space, double y) {
    const std::size_t point = name.find('.');
    const std::string above = name.substr(0, point), below = name.substr(point + 1);
    const auto font = [&](std::size_t characters) {
      return std::min(kLargestFont, space / (kCharacter * static_cast<double>(characters)));
    };
    const auto line = [&](const std::string& label, double size, double middle) {
      add("<text x=\"", number(x), "\" y=\"", number(middle + 0.35 * size), "\" font-size=\"",
          number(size), "\">", label, "</text>");
    };
    if (schedule_.spec.segments == 1 && schedule_.spec.chunks == 1) {
      if (const double size = font(above.size()); size >= kSmallestFont) line(above, size, y);
    } else if (const double size = font(name.size()); size >= kSmallestFont) {
      line(name, size, y);
    } else if (const double stacked =
                   std::min(kStackedFont, font(std::max(above.size(), below.size())));
               stacked >= kSmallestFont) {
      line(above, stacked, y - kRowHeight / 4);
      line(below, stacked, y + kRowHeight / 4);
    }
  }

  const Schedule& schedule_;
  const Timeline& timeline_;
  const schedule::KindSet kinds_;
  bool hints_ = false;
  std::ostringstream svg_;
};

}  // namespace

std::string to_svg(const Schedule& schedule, const Timeline& timeline, const std::string& title) {
  SEQ1F1B_ASSERT(timeline.spans.size() == schedule.orders.size(),
                 "the timeline is of another schedule");
  return Picture(schedule, timeline).draw(title);
}

}  // namespace seq1f1b::simulate
