"""Recognize an MP3 stream without a tag by its first two frames, so that it is not taken for raw PCM."""

_BITRATES = {  # in kbit/s, by whether the frame is of MPEG 1
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = (44_100, 48_000, 32_000)  # of MPEG 1; MPEG 2 has half of them, MPEG 2.5 a quarter
_DIVISORS = {0b11: 1, 0b10: 2, 0b00: 4}  # version bits; 0b01 is reserved
HEADER_BYTES = 4


def frame_length(header: bytes) -> int | None:
    """Return the length of the MP3 frame that begins with `header`, in bytes. None: it is not the header of one.

    ISO/IEC 11172-3, section 2.4.1.3, and ISO/IEC 13818-3 for the lower sample rates. Free bitrates are not recognized.
    """
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # 11 sync bits, layer III
        return None
    divisor = _DIVISORS.get(header[1] >> 3 & 0b11)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 0b11
    if divisor is None or bitrate in (0, 15) or rate == 3 or header[3] & 0b11 == 0b10:  # reserved values
        return None
    is_mpeg_1 = divisor == 1
    samples = 1152 if is_mpeg_1 else 576
    kbits = _BITRATES[is_mpeg_1][bitrate - 1]
    return samples // 8 * 1000 * kbits * divisor // _SAMPLE_RATES[rate] + (header[2] >> 1 & 1)


def is_same_stream(header: bytes, next_header: bytes) -> bool:
    """Return whether two headers are of neighboring frames: version, layer and sample rate never change within a stream."""
    return (
        frame_length(next_header) is not None
        and header[1] == next_header[1]
        and header[2] & 0b1100 == next_header[2] & 0b1100
    )
