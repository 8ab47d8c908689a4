"""The numbers that make up .odp version 1: every id, flag and bound, written by hand.

A file is::

    magic            2 bytes
    version, flags   1 byte: Flag.FAITHFUL in the highest bit, the version in three, the other flags
    fingerprint      4 bytes: the code space, all that it takes to read the tokens
    width, height    2 varints, only with Flag.SIZE
    codebook size    1 varint, only with Flag.CODEBOOK
    token count      1 varint, only with Flag.CODEBOOK and a codebook whose payload does not tell it
    tiles            4 varints and a table, only with Flag.TILES (which needs Flag.SIZE): the tiles' side,
                     their least overlap, the fewest tokens of a tile, the spread from there to the most;
                     each tile's count less the fewest, row by row, in as many bits as the spread has
    tables           2 bytes, only with Flag.ENTROPY, which goes with no other than Flag.SIZE: a digest of
                     the entropy coder's tables
    tokens           ⌈k·log2(codebook)/8⌉ bytes, first token first; with Flag.ENTROPY as `packing` says
"""

from enum import IntFlag

MAGIC = b"\xd1\x1d"
"""No ASCII or UTF-8 text starts so: 0xD1 opens a character that the control code 0x1D does not continue."""

VERSION = 1
FINGERPRINT_BYTES = 4
FIXED_BYTES = len(MAGIC) + 1 + FINGERPRINT_BYTES
DEFAULT_CODEBOOK_SIZE = 4096

MAX_TOKENS = 65_536  # 256 times the longest code of any published model
MAX_TILES = 16_384  # 180 megapixels in tiles of 256 make 3,600
MAX_TILED_TOKENS = 1 << 20  # of all tiles together: 4,096 tiles of 256
MAX_CODEBOOK_SIZE = 1 << 32  # four bytes a token; published codebooks end at 2^18
MAX_SIDE = 65_535  # pixels; JPEG's limit as well
MAX_PIXELS = 178_956_970  # where Pillow, too, refuses a picture as a decompression bomb
MAX_VARINT_BYTES = 5  # 35 bits: enough for every number above
MAX_PEEK_BYTES = FIXED_BYTES + 2 * MAX_VARINT_BYTES  # where the picture's size has ended
MAX_FILE_BYTES = FIXED_BYTES + 8 * MAX_VARINT_BYTES + 3 * MAX_TILES + 4 * MAX_TILED_TOKENS


class Flag(IntFlag):
    """The third byte but for its version: what a file makes use of."""

    SIZE = 0b0001  # the photo's own width and height follow: they differ from the model's
    CODEBOOK = 0b0010  # the codebook has another size than 4096
    ENTROPY = 0b0100  # tokens are entropy coded with the model's tables, whose id follows
    TILES = 0b1000  # several codes, one a tile, their tokens in the order of `tiles.order`
    FAITHFUL = 0b1000_0000  # show the faithful picture, not the sharp one, unless the user asks for another


SUPPORTED_FLAGS = Flag.SIZE | Flag.CODEBOOK | Flag.ENTROPY | Flag.TILES | Flag.FAITHFUL


def tells_its_length(codebook_size: int) -> bool:
    """Say whether the payload's length in bytes alone gives the number of tokens.

    It does for powers of two from 256 on: the bits left over in the last byte are fewer than one token.
    A codebook that is no power of two needs the exact count to place its tokens at all (see `packing`).
    """
    return codebook_size >= 256 and codebook_size & (codebook_size - 1) == 0
