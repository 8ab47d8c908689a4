/** odp.js: .odp pictures in the browser by the linear path, an inverse DCT of the first tokens. See README.md.
 * Part of onedpiece, Apache-2.0. tools/make_odp_js.py writes the bundled model's tables between the next two lines.
 */

// tables:begin
const MODEL = {"fingerprint":"1847755d","tables":"a151","longest":2809,"size":256,"side":64,"tokens":64,"grades":[[8,[63,65]],[32,[15,15,17]],[72,[7,7,9,9]],[143,[5,3,3,3,3,3,3]],[1,[15,15,17]]],"lattices":[7,9,15,17,63,65],"even":[0,2,14]};
const TABLES = "jrOoPhxDSD9Qws0/pAJ6Pgo8CT/++nI/WsvgP4CbDT5bxZM+1nTnPpZ8JD/EI2I/qoegP8NUBECQqPc95tmAPvypxz6FMgs/UQU6P94Jdj9jBqo/0+YGQNElAz3+YoM9SkPGPQRjBD7GZCY+pmpIPrxSaz5E4IY+cA6ZPqPEqz5O770+qufQPuoU5T7svvg+4AIHPxrxET+zmR0/fr0pP6t1Nj+QVUQ/iT9SP+KwYj8awnM/2sGDP86njj9m95o/Jg6sP/bVuz857NE/gMb6PwqghkDEcfw8lOB9PXB+vz1wLQA+Rz8hPpuoQT54smM+hlKCPnikkz4KT6U+GCG3PlvVyT54dNw+NibwPhq6AT+Yvgw/cokXP7FaIj8DjC4/oZk7P9pWST/KeVg/hwRnP1DqeT+fvIU/KEOQP7jGnj+zBq4/GF7DP66y2T8YlQdACtCGQNezXUIAALph9UFAAAMDA0SFAWVlJWXIAegB6gKLA4oDrAPwBdMHkwfZCv0Mvg3hD8sVrBTtFK4U9hi1FZ4b/xePGp0a9hXvF5kR9RDMDoQKowzdCLgGlgeVBrEEsQWPBK0EjAPJAaoC6AGpAqcBqAJmhgGmAWWFAaUBA2QDAwMDAwMDAwMkIyQkRecBhwHoAaoC6wKvBJIG1AbYCJQE/AiDC8IKqQ3TEdUPxBaQHNgc5SCmJO0cyR3ZE7sYshOvEowSxA6cC9cH1gezBvAF7QPvBY8G6gPpAukChgHmAYYCxQGFAQMDAwMDAwPzBDVCABBibr1BgAADAwMDBAQEBAQGBgYHJylKaystjwFvb5MBmAPXAtoD3gSjBqcH8gzNGItBtEqERaU2vDK9HJocqxOmEJwKlQbVBdEErQIqygGKAShIJwYGJgUFBQQEAwMDAwMDAwMDAwMDJCMEZYYBpwGHAYgCywPMA7AFsQXzBfYG+gifC+gOixKvEtEPoBnlF9Me+RzkH4UjqRnAFrkTtBK0FYkNhAyiDfkImAi3CPUHjwWQBuwDygKLBKgC6QKHAqUBJCSFAQNDIwMDAwNe+oBBAgBp6ptBAQADI0NEpQFlZacC5gHoAacBywPsA4oDzgTQBfAE8QSWCJcI+QjcC6UQpA2jDMkQrRG2FvUTvxeOGcMfnRzuFr0UmBPQEYkO/wiADN4LlgeYCPQGzwOTCM4E8QatBIwEqgPqA+oDigToAscByALGAYUBZCMDAwMDAwNkI2RkZAOFAYUBqAKIAugB6QLKAq0EzgOxBZYI9wfbCf0J5AvFDIwQ9hPfF8cZ8x6BJKUh7SnrGsAW2BK1E7ESiw+jC98Klwe5CbMF0QSOBOwCjgWrA6kC6AGnAYYBBASlAWQDAyMDAwMDLGsaQcAAwSVVQUEAAyMjJIUBRIcCxgGHAokD6QLrA64F6wOxB88E8QWVCPoKuQn6CZoK3AigCscPxw6rEJARsRCgGMsWnRq5GLQctg6WEu0Oqg/EDeEMgA2bC/wL9Qf1CPMHrQSQBu0E7gXrA+sDqgOoAucByQPnAaUBRAMDAwMDAwMDAyMjJERkpQHGAccB6QKIAogCiQKKAo4EsAS1B/UF+gjeCsUMgwuqDpEQ/RWsHfAbnCDQKosorRynHJ0X8hDMDosPiA/cB7gH1ga2B9MGrwXOBMsCqgLoAccBqAKHAoYCZUQkRAMDIwMDA1/NDEGCAB5WPkEAASMjAyQk5gGHAqcCpgGqA+kCzASNBcwEjQSzCNYJ9QiVB7kJnAuXB+EMxg/EDYkQ7BDQEbQSoBjsF8MflBSrFJwU8Q3uD4oP5A2jDt4L+gncC9YI9QivBM8F7QONBa4FigOKA4gCqAJmxwHGAcYBpQEDIwMDAwMDAwMDAyQkI8YBhgKGAYgC6AHIAcsDjQTPBPAE9ge3B9sJngqoD8YNzhHUErsUhRjUH9wfxyKGJKoauRD+F7UT7A6vEqYNog35CNgImAnyBa0DjgSLA+wDyQLpAqcBxgEkpQFEZEQDAwMDAwNDfARBQgCX+DNBBAADIyOFAWUk5gGmASXKA6kDigOMBKsD8AbwBbMHkga3CJoK+gm4CP8KhxDEDeYNjhK5GL0avhbwGsEd9hXsFdwTtRHuD8sPggz9CL0Kugr3B7YI8QWQBY4F0wjNBIsDigPoAaoDxwHoAqgCpgGlAeYBIyMDAwMDA0MjAwMDAwNlhQGHAocBiQOHAeoCiwKwBbEFsQTWBvkH3QnmDeUMpwv2E/0V7x/OGsorrCeoJakZgRe6FPMQ6gyMEOsRvgmZCLcHlAa0B44EzwXrAosDpwGoAoYBZYUBhQFlhQGlAYQBA0MDAwMc3vNAAwCT4yZBgQADAwOlAYUBpwKFAaYBpwLqA6kDqQLsA6wErgSwBZAF1Qj2B5cI2Qj5CP4J5A3FDqgPig+WFpkXgRmuGcIe/BrTG9YOmRTREusPowzfCtsI1wf5CNUHsga0CK0EzQONBcsDqwSqA8kCxwGnAocC5wFFZSNDhAEjAwMDAwMDIyREA2Vl5wHHAckC6QKKA68GsAXwBNUHmQncCr4Kxw7lDMsOthTaE8QW0RzdIKgj4B6NHKIY/Rb2E44QzA+CCqEMmwq6CtYHtAevBa4E6wKMBKcByQKoAmUkJEREAwMDIwMDA+sFUUIAINncC0FAEAMDAwMEBAQEJQYGBgcHCAkKCw0ODw8SNFWXAdoBngLGBvcQwUSC9wHkV4Qq/BOHBeIFugG2ARIxDg4MCgoICQgHBgYGBQUFBQQEAwMDAwMjZCMjhAGlAYYChAGlAYUBZecB5wGLBIsEigPtA5AFkgbxA5gIuAe7COMKhQ2uEZYUnhfpGtUg6iuuRLMvrh3fFbkT0A7KDIUKvwf3A/MD8QKRA80BjAKqAYkBaGdGJoYBRAREBAMDAwMDIwPcB8VAwQAun8FAwgBe4b1AQAEGsgXjCr8V4SCQLshOnHjFTLMwwyK8FKML8QRGBfADxQyDGMkmmTShScZowEjcNuUj/xbjC9EERiXuA5gHrxDFFugjmjbQRN5e80b6NuUhwRSREdcF8ARGtgi5QEMAO3SwQIABZTCuQIMAhwHTBeQL+xLaG5o1x02ceKxR9TGAIPoSgQqvAyUF7wKDC/oR+huHPrZYoGTnTfs1/R39FMQM8wUlBe8E+QfuD6MVpSGaNpZJu1y9TfMxgiCFF80O3AiNAwXL2ahAAgF9OKhAhAAMO6RAgBBGrwOlDKEXyCX0MI9T5mihSdk0wiGBGIQMzgIFpwHwA8UM5xqFI6A55EvBZe1R2DPJJvcQmwauAiWmAbkLwQ2REqYXzCa+OcJR/osByT+ZH/AS7QWABbEBagXPcqBARABARJ1ABgAGHZ1ABQCnAbEExAu5EcUjtjL9XMRnyE64M98fmRLiCo8DhgHoAdEE3ge2D5wd+jT0Vvl1iE61MYEhmRKCC5EFRkWtA7cGzA6HGOQg9DHWSJBrsUW0MqAe6RmrDfgF8ARFE8yaQAEBm0STQAIQ6TyTQMMAZpAEgwveFKUj/TbASMpr0VTZNKAgmRLlDJAEJaoD1AbFDOMYxSOgObVXlaAB1kHZHccOigi5BKwBRkXMArkHqAuDFa0n3zn3ScVjjkOyMYUioRSuD/wIrgMFHRaIQMABWMSHQMQA9xGGQEIBRtEEwQnAFuAf+jTuUq5uqU/3MoQj2BGBCvADBQWyBeMKwxihIP432kTLbPBT+zXlI7kSoAnwA0YliwKbCawOqhrJJL04k0f4WZFF1jPHI6QWrQ7dCe0CBZEfg0BBASeKfUAAAttxeUADAUaxBKMLgBaHJbk0yk+4deJJ8S7+HrwUoAnSBSUmkgX/B/cPvh6aNeZMxWi1V/02iiedFYAKrwPHAWaNA5cGqQzpGecikC+1SKVj90mxMOQgiBnUE7oHzAIll/14QAQBSo5yQEUAolhwQIUAhwGxBOsQnRTkIoA5p03vboNL/jedHrkSvQeNAiWHAfAD4wr6EfUXvDbjSvRysFSAOYQjmhPgCZAEZgXtAtgGqg3JGcIf0zGWSYNi00b2M8olxBbQELsIrgMFuCBwQIIB7XVqQIYABE1mQAgABdEEhQyjGIYklzPxVKBkrlL0MIUk+xP+B48DJYcB8gSHDoEXoyLGPYNLqGqvU/QwgCC2EP4HzgJGhgGNA7cGqg2iFIYimzeGVK1plkntLdoZwRSKDLkGzgPnAcRiZUABEMAYY0AHAGXhW0BGAIcB0QTgCPcP/ByoKMRL5ZQBklWPLZca0w6fCZMGxwGnAfIEgwv7Erob1DCKUP14ilCAOd4elxHgCa8DRoYBjQO7CYoN5RbJJPczgVGCYbVI8zGAHoEU6wy6B40DJTs2WkCBAXj6WUBDAWwTVkDFAMgB8AODC7wTwiHzL+ZMk3LpTp033h69FaUN8AMlJpIFwgr9E+AfuTTtUalrgkrfOKQjnRWkDI8DBSXsApcGyw3GF7Ap1TLyRfpb2kvUMoQhiBmOD/sHzgNFR5NMQEACN0xMQEQBBjlLQMIBZtEE4wqgFsck4TnNUd1i61C9N4Ag2BG+CPADRgWPA+MKpBnEIv02gEnfY8RLtzPoJaQaxg2yBUYl7QK6CMgLpxisJrQykUWVWJxNnzqkIeAT0BD8CI8EJTbvSUCAAu80RkDGAP5fQEDBAWbwA6IK8wzCIfQwjFHXdI9T/TakI5AM4gq1ByVG0APEC+EWgiHaNO5S42aNUpo1gSGaE6EKsAQFBY0D+QfnCqEUyCOQL9tMy2eSRvYzpyPiFM8P/AjOA0WgGj1ABQHu3jtAgwEA3ThABgEFsQTgCN4UqSbcNuxQyWquUrgz3B25EsQM7gIlJvIExQy8E74e1DDeXY5ugEmTMMAgvRWiC9EEZiXsAroIig2pGcUhlzSyRrVY+kuVM4olxxiwELoH8AQFeVk3QIQBFq00QIcAjVw0QAICRq8DvgfhFuom2zXwU6lr5kygOf0duRLfCM4CJSbRBIIK9g7LJ7w2oUn8YbNW4jqmJJsU4wuvAwVFrQOXBqwOixvtJps3lUiOU9RH9zSsJscYygz7B40DBYGiM0BHAJ+GM0DAEG4RMkAKACayBcIK9w/dHZYypUy0cvdY+jS9HtsTggvxBKcBpwH2B6UM2hHXGfEutVfcjgHpTqkp1RjPC50H0gVm5wGsAvUEyw2kFv8c0jCcTfdvu0zvLsMgoBPpC/kGzwTnAc69MEAJAJbcL0BFAeYULECIAKcBjwO/CKMY4B+XM4BJ83HRVIA5nx/3EKEK8AOGAYcB8AOlDN4UqieaNeZMqmvRVLo1oCD3EP4HjQIFpgGOBNcGrxCDFYYirS2yRrNt90mRMIgkxheKDLkGjQMFD38pQAAD+6gnQMMB8BsnQAEChwGxBJ4Hkgy9Hb84ilDbd9JV9DDmJLMO4AmSBWYmkgWHDuIXoyKVMadN+XW+R4Q83B31D54I8ANmhgGOBLoIiw6jFakkhym0R4Nil0m4NegjiRrsDb0JzgNmAOwlQMcAc+AkQMACLjEjQEYBRtEEhg2fFaYk8C3SVaprpUy2MqAgpBq9B7EEJYcBsQSDC54VuBr2MedNm3evU7gzgSH4Eb4IkwZGBYsC1ASND8kZqCPdOLJG4F//Tu8uoR/pGc8PmAarASXzJyNASACOniJAQRBH2B9AghBG0QSFDNgQoyL4M5ZYsXDOUvEu/R23EYEK8ANGRvMFxAvZEbIW6yquUr+QAZNWzCuzF7UPgQqSBUZFqgHWBecK2w+6GcUn80aYhwGXSccphCHoGI8QnwvxBYYBPXQfQAARpTIfQMQBToQdQEICiAK1B8QL+hGCIbUx2FncjgGlTOEjkhaOC/4HsARGJtADvgf9E+glvDbsULpgqU/hOeIhgRjEDK8DJSXMApcGjQ/rGuslvTjKQItRmErdOMkk5xixEZsI7QIleZAbQEAgI7MZQMgA1DAYQIUBqQLTBaAJ8wyVGLoeuEO9vAG2WOMk0hbxDLoF8AOnAUbQA8EJ/RPgH+0rzlKsbYZNwDmHJcAXgguQBEYF7gOVBc4PhRf1LJUzzULBYJJGtDLyKqEU6Aq6B+0CJc3rFUCGARzXFUAHAZuAFEBBAibOAoIKnxXeHvs1oUnHafNVujWmJPwUhQ3OAogCRu8Cxw3hFsckvTfxVOVnhk2aNcAgthDfCK8DJacBjQO5B60PgRSpJLc0mEqAYI5D9TLmIoYY0BCbCK0DZpvyE0ADAt9sEkACIETgEUAMACbvAsEJ3BPCIYA5hUyIapBUlDHpJvgR5QzPA0ZGjwO3AoUDwQquFs07o9cB2lrkJdoblhCEDPUH6QKnAa0D1gWGCt8S2xqdOPlK23K1SLUzoB7gE8wNuwiuA4YBPWYRQEIQGH4QQAsAd9APQIICyAGQBP8Hlg/5GvYxzVHfkAHkS/Eu9xmYEtwG8QTHAYcBkgXBCZcQwSD3Ms9T/XipT5k02xz3EMAJ8QRGBe0CmAesDq0c0CnVMrVI9VeZS80t6CPHGIsN3QnMAgWxiA9AiQCIhg9ABAJLUA9ACAEFsQSFDMIXhiT4M+pP1HK+R7UxoCCdFeIKzwNmhwHRBIML2xLjId84pEvHaahOszDHJb8WpAzSBUYljQPXBs0P5BWDIJMx00a+XpZJ+TXJJIgZzw+cCe4DZrpGDUBJABtaDEBHAZosDEBAA6cB8gSjC5kRnB25NIZNwXuvU7gz2hu6E54I0QQlJtAD4Aj7EowowDmGTb1i9Fb+N8UjuRL7BZAEJSWLAvYFjQ/IGOQgsjDaS8hl+UraNuIf4xWpC9kGrQOGAexwC0CAA+NIC0DFAYAoC0CAIIcB8gT9BvcP/R2aNfZX3nmDS5o1vh71D4EK8QRmRs4C5AugFoIhgzuKUNBvxEv9NsIhlA//CM4CJUXLAdYFnAPxCI4R2R7UR8ipAe5ZwybhHvwQqgzfCqwCxwHPPQhABBCjGQhAigBJCgdAyQCpAvMFogr6EdQX8y+rUJukAahOpieNE68LuwbwA4YBRvADoAnbEqAg2jSxVOlqgkr6NOglvxaiC/EEBUXtArkHiw7fEqIf0zGBUaJhs0aTMsUhxhfTEtwIzgNFelgGQIEC8BkGQAMQCBsFQMYBJrIFggqXEOEg9DDLUM1ty1CBOp8fvRXBCvMFRmexBP0Gtg/wFMgo0VTTngHqT6kp9xn4EcIKrwNmRc4D/AmHC+gY3hyzMfpLnF23SZg16CPqGqwN3QnrAUarBgVAQwJ4QQNAgRAXLQNASgBGsQTCCoAWpSPzL+tQqGrnTZ03ySaaE8AJ8AMFqQLxBLsFuRGYGrEu5EuPnAGFTPAt8RWzDoIL8wWoAmavBLcGqg2BFIEf9DHkUudknE3TMeEe5RbKDNcF7QKGAW1bAkAOAO0YAkDCAv7IAEBIAegB0QT9BtQN+RrtK69Ty4IBkFTAOfsc9A6gCZAEpwFn0AOlDNoRqCWaNY1S3WLLUMI63x/ZEuUMzwMlJe4D1waKDasbiSSyMIxCuFrWSLg1lCyoGa4PuQbrAUZ2D7Y/hwFvIbU/RAKfgsc/BgKJNsY/ygCbBuM3o278owGAbaE4wgrCCqU5vGmNmgHhbYo+5QztAs0ZgjfGZbWLAcZkwzeQG7AEzwOVH/oxhWXklQHhYNsxrRnQBATmrz8FAtIirz8JAfdtwj/HAVf2wD+IAcIKpjqCbaerAdhn+TKeCMYNgDbjbdujAbVlpzygCc0CqhfgNbdb7ZsBzGjANaoXzwOPBNIcozj/YLeMAeVjwzevGu8Dt8GrPw0Awq6rP8ECVcq+P8ADllu+P4MCpAz3L79rzK4BxXCUL4EKggvBNulxoqgB7V/BOIQM7wPCEeA1oWLPnQGHZcA16BXQBI8EtB7jN99gkokB52TEOO4Z0AS7tak/iwC1b6k/AgN8k70/hAKCAr0/AATACak89mTlqQHbaaE4wAmCC+c65m/2nwHbaZ01wwvvA/Ebhjq3W/qOAZhbkUGRHK8D0gWCErgwrmuKmgGjYqE2pxXRBFv/pT8KATDWoj9LAK0Qtj8BAxQTtT9JAYUNhTnYZserAb5r1zHCCsUMsSu5Z4arAZB41zHkC9MGrhqaMpte0J0Bv1/gNcsXkASwBMwY/DKYXMGTAd9fiDvWH/IFpMugP0UCnVGfP4wAQv6xP0AR7oCvPwEgyQ+kOLxptZ8Bom7AN8AJoQrCN8py1LQBqFy2MKEK1AemFNQt3mD8uwHMUo4prBjSBbEFwhGcHc1U5O0B61HcHKQT1Qelh5w/wwIn6Js/wRAPna4/yAHaca4/ywDjC+E2wWzTnQGJc542gQrjC7EryFus2gHoXKsp5QzyBfIcxzrWWryQAfha7j7NGZAEjwSRHIY65WTbjwGfX/806xeRBVGImz8QACxWmz9GAuwYrT/CEIqhrD9CA8AJ2jHjbb67AZRlsCyBCv4HgjfUee6aAZxq4jjACdIFpBPRK+pSnLwB/l6VLu0YswauA+4ZwDWCY8KUAcBgwDXyHO4C7GqZP8QCph6ZP0wAnveqPwcC2yKqP0oB/wjOP8Fs7ZkB4W2hOIMLwwv3L+ZvtrUBrWCYMuUMzwORHKg72l3dkAH/X8Q4kBvuAvIF8hymOsRk2I0B3l6jN8kWkARG5ZQ/QAS6fJQ/iQEvmqU/DwAihKU/hQLACdoxom2auAHBbc4rmwahCoo92mekqQG7aZ42/gePBKcVmDC7XraiAaxo2TCsGJAE7gLVHpwz52a+kQGhYZ40zxruAvWxkz8IAjd8kz+ABAJxoz8LAYc3oz/MAMAJhTmEb5WfAYRwnTWBCv4Hzyrkbvu4AaVwrSqCC7EFixj9M+Ji1IoBi2ikOJMdzwOzBrEc/zT/YIWWAZtd2jHSHNIFsleRPwMDvUuRP4YC+BiiP0MQndChPwIRoQqYMINu3KMBhnHgN4IL3wjHOrxpvaQB4GzjOZ4I8wbKF6sn6VHPyQGvVLYuyBWzBtAEvw/rJ81UxMEBg2L1LacV1gh3bI8/QQM2Oo8/ggPUY54/jQDyDJ4/BAPDC9UuuGbvsAGrdJoz/AbCCqk8uWf7ogGBbsA3oAmRBfUehjqnZt6RAcBg0ivsGPEEzwPVHuE2tFmbjwHmZMk7jhrvAxMAjT9HArHbiz+DEOdmnD/JAXFEnD8MAf4H4TaFb/6kAZ1r/zaCC+UMzyqZZ9/RAYldpyakDPEErRmsPspo0YgBpGP7MY0Z7wORBZAbqTy1WsSVAaBg4jbrF9AE9V+LP4oBYgKKPxEAUwiaP00A3vuYPxIAhw6cM5Zl6q0B3Wq9NcML/gfYMJ1q6cIB2mjsKd4H0gW0Hv8011vwnQG6XLwyzBjyBbEFpBPULf1fpawBh2X1LaYUkwbplIg/jgBuiYg/SwEenZg/xQIUQJc/hBCBCqc6nWrHqwGibpIuwAm/COA1n2uApwGaaeU6wwvQBI4agTf4W5OKAchljD6yHJAE0ASkE6snx1CKxgH+XrcvhhTVB9SZhj+BAzaVhj+AEXczlT9DA8LMlD9IAsIKxzrSYp+mAYRwvDTGDYgPkiy0Y+zaAaNZpSX+B9IFjhqKPeln74YB1lnmObIc0ASPBJMdvDOIZ/CHAadlgTa1Hs0CCuGDPwAFf7WDP80ABGyTP8YC962SPwkC4gqJJv5qw74BqHLKKOIKggvpO+BrxKkBnGq3MZ4IzgPxG8I3ul20igHoZcQ49x/uAs4D6xe+NIVltYsBiGboOvEb7gIR4II/RAOQTYI/TgAEmJE/ygFGdJE/wgPiCqA2/GiYoQHkb6U74Qm/CPMshW+buQGzZNcxpAztAu4ZojeCY+mCAdhwhTmLGLAEsASRHMg7v2GZjgHYWus8jRnPA8Y0gD+LAVYXgD8FA26Vjj9EEP8zjj9MAcMLxTnjbdyjAbNk4jikDOAJvDOlb7qiAeBshTugCbAEpxXSLLBWqcUB9FfPKcYU9QfvA/cfxTngYbuPAd5e4zfrF44DZaJ9PwoC3F59P4cCoFSNP0kC2kCNPwYDowufNcFshaoBl2eeNsMLvwiANoNu3qUB2GfoPKAJ7gLpFoc71lqJmQHDYoI3zhmwBM4D8RuMPrpd+Y0B3F3lOPIczwMw6Xs/wATahXs/zgCleYw/iAKbTow/ARHcBtgwg27zswHEb7Mu3wi/CKU5j3aYoQHzY5w15g2wBNIcxDjWWraMAdVu2TCRHO8DswanFZYv7FPjwAHZW7AqhxWxBZgHeT/BAyi5eD8NARC5iT+DA0tyiT8CBKMLujGZZ4mtAeRv+TKkDL0HgDaFb7ujAaBtvzakDNAE9R7jN7hcg5UBhGOjN4cV7wO0B+wYgjeAYtaLAdlbk0LsGLAEVjl1P8MQ/RN0P4QDBaSIPwUQAdOHP8cCoQrwKq5f8d0Bp1zKKN8I/gefNd5qm6MB4W2HPIILjwSEE5Uu2VzCwAHQVdMsqRbxBK4D7xqANuZlt4wBqme/NM0ZkAQ=";
// tables:end

const MAGIC = [0xd1, 0x1d];
const SIZE = 1, CODEBOOK = 2, ENTROPY = 4, TILES = 8; // flags; the highest bit (faithful) says nothing here
const MAX_SIDE = 65535, MAX_PIXELS = 178956970; // as onedpiece/bitstream/format.py
const MAX_FILE = 7 + 2 * 5 + 2 + MODEL.longest; // bytes
const TOTAL_BITS = 16n;
const DRAWN = 128; // pixels a side of the canvas: CSS stretches it to the picture's size

/** What is wrong with a file; `incomplete` where more bytes would make it right. */
export class OdpError extends Error {
  constructor(message, incomplete = false) {
    super(message);
    this.name = "OdpError";
    this.incomplete = incomplete;
  }
}

const incomplete = (what) => new OdpError(`the file ends inside its ${what}`, true);

/**
 * Decode the bytes of an .odp file, or any prefix of one that holds a token.
 * @param {Uint8Array|ArrayBuffer} bytes
 * @param {{tokens?: number, side?: number}} options decode so many tokens only; pixels a side, 64 by default.
 * @returns the photo's width and height; tokens that were read (of an entropy-coded file no more than 64), and how
 *   many of them are shown (at most 64); pixels, a square of RGBA to be stretched to the photo's size, and its side.
 * @throws {OdpError}
 */
export function decode(bytes, options = {}) {
  bytes = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  const header = readHeader(bytes);
  const payload = bytes.subarray(header.end);
  return picture(header.entropy ? unpackEntropy(payload) : unpackPlain(payload), header, options);
}

/** Decode what `onedpiece placeholder` prints: tokens without a header, in base64; behind "~" not entropy coded. */
export function decodeData(text, width, height, options = {}) {
  const plain = text.startsWith("~");
  if (text.length > 2 * MAX_FILE) throw new OdpError("the data are longer than those of any picture");
  let payload;
  try {
    payload = Uint8Array.from(atob(plain ? text.slice(1) : text), (c) => c.charCodeAt(0));
  } catch {
    throw new OdpError("the data are no base64");
  }
  const tokens = plain ? unpackPlain(payload) : unpackEntropy(payload);
  return picture(tokens, { width, height }, options);
}

function readHeader(bytes) {
  if (bytes.slice(0, 2).some((byte, at) => byte !== MAGIC[at])) throw new OdpError("not an .odp file");
  if (bytes.length < 7) throw incomplete("header");
  const version = (bytes[2] >> 4) & 7, flags = bytes[2] & 15;
  if (version !== 1) throw new OdpError(`the file is .odp version ${version}; this script reads version 1`);
  const print = hex(bytes.subarray(3, 7));
  if (print !== MODEL.fingerprint) {
    throw new OdpError(`the file was made by model ${print}; this script reads those of ${MODEL.fingerprint}`);
  }
  let end = 7, width = MODEL.size, height = MODEL.size;
  if (flags & SIZE) {
    [width, end] = varint(bytes, end);
    [height, end] = varint(bytes, end);
    if (!width || !height || width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS) {
      throw new OdpError(`the file says ${width}x${height} pixels, which no picture has`);
    }
  }
  if (flags & TILES) throw new OdpError("the picture is cut into tiles, which this script does not read");
  if (flags & CODEBOOK) throw new OdpError("the file has another codebook than its model");
  if (flags & ENTROPY) {
    if (bytes.length < end + 2) throw incomplete("header");
    const found = hex(bytes.subarray(end, end += 2));
    if (found !== MODEL.tables) throw new OdpError(`the file was coded with other tables (${found}) than these`);
  }
  return { width, height, end, entropy: Boolean(flags & ENTROPY) };
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function varint(bytes, at) {
  let value = 0;
  for (let place = 0; place < 5; place++) {
    if (at + place >= bytes.length) throw incomplete("header");
    const byte = bytes[at + place];
    value += (byte & 127) * 2 ** (7 * place);
    if (byte < 128) {
      if (!byte && place) break;
      return [value, at + place + 1];
    }
  }
  throw new OdpError("a number in the file's header is malformed");
}

function unpackPlain(payload) {
  const count = Math.floor((8 * payload.length) / 12);
  if (count > MODEL.grades.reduce((sum, [tokens]) => sum + tokens, 0)) {
    throw new OdpError(`the file has ${count} tokens, more than its model makes`);
  }
  return Array.from({ length: count }, (_, k) => {
    const at = (3 * k) >> 1;
    const token = k % 2 ? ((payload[at] & 15) << 8) | payload[at + 1] : (payload[at] << 4) | (payload[at + 1] >> 4);
    const codes = levelsOf(k).reduce((product, levels) => product * levels, 1);
    if (token >= codes) throw new OdpError(`token ${k} is ${token}; the codebook has 0 to ${codes - 1} there`);
    return token;
  });
}

/** The levels of a token's channels. */
function levelsOf(position) {
  for (const [count, levels] of MODEL.grades) {
    if (position < count) return levels;
    position -= count;
  }
}

/** The leading tokens that both ends of what the bytes leave open agree on; see onedpiece/bitstream/packing.py. */
function unpackEntropy(payload) {
  if (payload.length > MODEL.longest) throw new OdpError("the file is longer than any of its model");
  const value = BigInt("0x0" + hex(payload)), scale = 1n << BigInt(8 * payload.length);
  const lower = { value, scale, open: 0n }, upper = { value: value + 1n, scale, open: 1n };
  const tokens = [];
  for (const digits of tables().starts) {
    let token = 0, unit = 1;
    for (const starts of digits) {
      const level = nextDigit(lower, starts);
      if (level !== nextDigit(upper, starts)) return tokens;
      token += level * unit;
      unit *= starts.length - 1;
    }
    tokens.push(token);
  }
  return tokens;
}

function nextDigit(end, starts) {
  const scaled = end.value << TOTAL_BITS;
  const share = Number((scaled - end.open) / end.scale);
  let digit = 0;
  while (starts[digit + 1] <= share) digit++;
  end.value = scaled - BigInt(starts[digit]) * end.scale;
  end.scale *= BigInt(starts[digit + 1] - starts[digit]);
  return digit;
}

let unpacked;

/** The model's tables: `slots` of each token, and the entropy coder's `starts` of each of its digits. */
function tables() {
  if (unpacked) return unpacked;
  const blob = Uint8Array.from(atob(TABLES), (c) => c.charCodeAt(0)), view = new DataView(blob.buffer);
  let at = 0;
  const float = () => view.getFloat32((at += 4) - 4, true), short = () => view.getUint16((at += 2) - 2, true);
  const lattices = new Map(MODEL.lattices.map((levels) => {
    const half = Array.from({ length: levels >> 1 }, float);
    return [levels, [...half.map((v) => -v).reverse(), 0, ...half]];
  }));
  const slots = [], starts = [];
  let slot = 0;
  for (let token = 0; token < MODEL.tokens; token++) {
    const levels = levelsOf(token);
    slots.push(levels.map((count) => {
      const scale = float(), place = short(), even = MODEL.even.includes(slot++);
      const restored = even ? Array.from({ length: count }, (_, i) => (2 * i) / (count - 1) - 1) : lattices.get(count);
      return { channel: place >> 12, y: (place >> 6) & 63, x: place & 63, values: restored.map((v) => v * scale) };
    }));
    starts.push(levels.map((count) => {
      let sum = 0, frequency;
      return [0].concat(Array.from({ length: count }, () => {
        [frequency, at] = varint(blob, at);
        return (sum += frequency);
      }));
    }));
  }
  return (unpacked = { slots, starts });
}

function picture(tokens, { width, height }, options) {
  if (!tokens.length) throw incomplete("first token");
  const shown = Math.min(tokens.length, MODEL.tokens, Math.max(1, options.tokens ?? Infinity));
  const side = Math.min(Math.max(1, options.side ?? MODEL.side), 1024);
  const pixels = draw(tokens.slice(0, shown), side);
  return { width, height, tokens: tokens.length, shown, side, pixels };
}

const COLOURS = [[1, 1, 1], [1, 0, -1], [-1, 2, -1]].map((row) => row.map((v) => v / Math.hypot(...row)));

/** The inverse DCT, rows first; at more than 64 pixels a side its cosines are sampled more finely. */
function draw(tokens, side) {
  const cosine = Array.from({ length: 64 }, (_, f) => Float64Array.from({ length: side }, (_, n) =>
    Math.cos((Math.PI * (n + 0.5) * f) / side) * Math.sqrt((f ? 2 : 1) / MODEL.side)));
  const rows = COLOURS.map(() => new Map()); // of each channel: vertical frequency -> (side,)
  tokens.forEach((token, position) => {
    for (const { channel, y, x, values } of tables().slots[position]) {
      const value = values[token % values.length];
      token = Math.floor(token / values.length);
      if (!rows[channel].has(y)) rows[channel].set(y, new Float64Array(side));
      const row = rows[channel].get(y);
      for (let n = 0; n < side; n++) row[n] += value * cosine[x][n];
    }
  });
  const pixels = new Uint8ClampedArray(4 * side * side).fill(255), sums = new Float64Array(3 * side);
  for (let n = 0; n < side; n++) {
    sums.fill(0.5);
    rows.forEach((channel, o) => channel.forEach((row, y) => {
      for (let m = 0; m < side; m++) {
        const value = row[m] * cosine[y][n];
        for (let c = 0; c < 3; c++) sums[3 * m + c] += COLOURS[o][c] * value;
      }
    }));
    for (let m = 0; m < side; m++) {
      for (let c = 0; c < 3; c++) pixels[4 * (side * n + m) + c] = 255 * sums[3 * m + c]; // clamped and rounded
    }
  }
  return pixels;
}

/**
 * <odp-image src|data alt width height>: a picture from the bytes that are there; an <img> inside lies on top of it
 * once it has loaded. Events: "progress" for every better picture, "load" after the last, "error" with a message;
 * the first two have { tokens, shown, bytes } as their detail.
 */
export class OdpImage extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["src", "data", "alt", "width", "height"];
  #canvas = document.createElement("canvas");
  #sheet = new CSSStyleSheet();
  #request = null;
  #shown = 0;

  constructor() {
    super();
    this.#canvas.width = this.#canvas.height = DRAWN;
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [this.#sheet];
    root.append(this.#canvas, document.createElement("slot"));
  }

  connectedCallback() {
    this.#describe();
    this.#start();
  }

  disconnectedCallback() {
    this.#request?.abort();
  }

  attributeChangedCallback(name, before, after) {
    if (!this.isConnected || before === after) return;
    this.#describe();
    if (name === "src" || name === "data") this.#start();
  }

  #describe(width = Number(this.getAttribute("width")), height = Number(this.getAttribute("height"))) {
    this.#canvas.role = "img";
    this.#canvas.ariaLabel = this.getAttribute("alt") ?? "";
    this.#canvas.ariaHidden = String(!this.getAttribute("alt"));
    const size = width > 0 && height > 0 ? `width:${width}px;aspect-ratio:${width}/${height}` : "";
    this.#sheet.replaceSync(
      `:host{display:inline-block;position:relative;overflow:hidden;max-width:100%;${size}}` +
      "canvas,::slotted(img){position:absolute;inset:0;width:100%;height:100%}");
  }

  async #start() {
    this.#request?.abort();
    const request = this.#request = new AbortController();
    await null; // both attributes of a page that is being read are there, and its listeners
    if (request.signal.aborted) return;
    this.#shown = 0;
    this.#canvas.getContext("2d").clearRect(0, 0, DRAWN, DRAWN);
    const src = this.getAttribute("src"), data = this.getAttribute("data");
    try {
      let last;
      if (data !== null) {
        const size = [Number(this.getAttribute("width")), Number(this.getAttribute("height"))];
        last = this.#show(decodeData(data, ...size, { side: DRAWN }), data.length);
      }
      if (src !== null) last = await this.#stream(src, request.signal);
      if (last && !request.signal.aborted) this.dispatchEvent(new CustomEvent("load", { detail: last }));
    } catch (error) {
      if (request.signal.aborted) return;
      request.abort(); // what is still on its way is not wanted
      this.dispatchEvent(new ErrorEvent("error", { message: error.message, error }));
    }
  }

  async #stream(src, signal) {
    const response = await fetch(src, { signal });
    if (!response.ok) throw new OdpError(`${src}: ${response.status} ${response.statusText}`.trim());
    const reader = response.body.getReader(), bytes = new Uint8Array(MAX_FILE);
    let length = 0, last, problem = incomplete("header");
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) break;
      if (length + value.length > MAX_FILE) {
        if (!length) readHeader(value); // a foreign file is called so, however long it is
        throw new OdpError(`${src} is longer than any file of this model`);
      }
      bytes.set(value, length);
      length += value.length;
      try {
        last = this.#show(decode(bytes.subarray(0, length), { side: DRAWN }), length);
        problem = null;
      } catch (error) {
        if (!error.incomplete) throw error;
        problem = error;
      }
    }
    if (problem) throw problem;
    return last;
  }

  #show({ pixels, side, width, height, tokens, shown }, bytes) {
    const detail = { tokens, shown, bytes };
    if (shown < this.#shown) return detail;
    this.#shown = shown;
    if (!this.hasAttribute("width") || !this.hasAttribute("height")) this.#describe(width, height);
    this.#canvas.getContext("2d").putImageData(new ImageData(pixels, side), 0, 0);
    this.dispatchEvent(new CustomEvent("progress", { detail }));
    return detail;
  }
}

globalThis.customElements?.define("odp-image", OdpImage);
