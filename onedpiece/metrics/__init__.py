"""How good pictures are: PSNR, SSIM, MS-SSIM, LPIPS, FID and BD-rate, each defined once."""
