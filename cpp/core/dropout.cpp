#include "core/dropout.h"

#include "core/random.h"

namespace chainrule {

DropoutMask Dropout::mask(std::size_t l, std::uint64_t sample) const {
  constexpr auto purpose = static_cast<std::uint32_t>(Purpose::dropout);
  // A seed for the layer in this epoch: the counter has no room for both beside sample and unit.
  const PhiloxBlock block =
      philox4x32({static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
                 {static_cast<std::uint32_t>(l + 1), static_cast<std::uint32_t>(epoch),
                  static_cast<std::uint32_t>(epoch >> 32), purpose});
  return {{block[0], block[1]},
          purpose,
          static_cast<std::uint32_t>(rate(l) * 0x1p32),
          first_sample + sample};
}

}  // namespace chainrule
