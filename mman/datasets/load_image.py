"""Reading an image file."""

from mmcv import transforms

from mman.registry import TRANSFORMS
from mman.utils import DataError


@TRANSFORMS.register_module()
class LoadImageFromFile(transforms.LoadImageFromFile):
    """mmcv's transform of the same name and keys, with an error that names the file.

    A truncated file is refused. One with wrong bytes in its middle may pass: the
    decoder of JPEG reads on behind them.
    """

    def transform(self, results: dict) -> dict | None:
        """Read ``img``, uint8 (H, W, C) in BGR order, and its shapes from ``img_path``.

        Raises:
            DataError: If the file is missing or is no image.
        """
        # Decoders raise errors of any type on damaged bytes, so all are caught.
        try:
            return super().transform(results)
        except Exception as error:
            cause = ' '.join(str(error).split())
            raise DataError(
                f'the image {results["img_path"]} cannot be read ({type(error).__name__}: '
                f'{cause}). It is missing, damaged, or of another format.'
            ) from None
