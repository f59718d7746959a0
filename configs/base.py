"""What every configuration has: each field with its unit, and the data set-ups that all tasks share."""

from ml_collections import ConfigDict

from mils_jax.errors import unknown

VARIANTS = ('shapes', 'mini_imagenet', 'cifar10')


def base_config(name: str) -> ConfigDict:
  """A configuration without a model: the built-in shapes, crop and flip, SGD with a cosine schedule."""
  config = ConfigDict()
  config.name = name  # names the run folder

  config.data = ConfigDict()
  config.data.source = 'shapes'  # shapes, folder, arrays or tfds
  config.data.path = ''  # folder: its root; arrays: the .npz or the folder of .npy; tfds: its data folder, or empty
  config.data.image_size = 32  # pixels; 0: the pictures' own size
  config.data.normalization = 'data'  # data: mean and deviation of the training split; imagenet: ImageNet's (R, G, B)
  config.data.seed = 0  # of the cut of missing splits, and of the drawing of shapes
  config.data.channel_names = ''  # comma-separated; empty: what the data says
  config.data.channel_axis = ''  # first or last, where TIFF files and arrays do not say
  config.data.allow_outside = False  # folder: let pictures lie outside of it, by a list's paths or by links
  config.data.val_fraction = 0.1  # of the training split, where there is no validation split
  config.data.test_fraction = 0.1  # likewise for a missing test split
  config.data.num_train = 5000  # shapes: pictures of each split
  config.data.num_val = 500
  config.data.num_test = 1000
  config.data.tfds_name = ''  # tfds: name of the set, such as cifar10 or eurosat/all
  config.data.image_key = 'image'  # tfds: its features
  config.data.label_key = 'label'
  config.data.train_split = 'train'  # tfds: names or slices, such as train[:90%]; empty: the set's own, or cut
  config.data.val_split = ''
  config.data.test_split = ''

  config.channels = ConfigDict()
  config.channels.slots = ''  # names of the model's input slots, comma-separated; empty: the data's
  config.channels.use = ''  # which of the data's channels the run is given: 'R,G', or RG for single letters; empty: all
  config.channels.sampling = 'none'  # channels that a training sample keeps: none: all; independent or hierarchical
  config.channels.drop_rate = 0.5  # independent: probability of dropping each
  config.channels.sampling_per = 'sample'  # sample or batch: which draws for itself

  config.model = ConfigDict()
  config.model.name = ''  # dynamic_resnet12, wide_cnn or resnet34
  config.model.num_classes = 0  # logits; 0: the data's classes
  config.model.fill = 'zero'  # of absent channels: zero, learned, or mlp (predicted from the present ones)
  config.model.rescale = False  # multiply the present channels by slots / their number

  config.augment = ConfigDict()
  config.augment.crop_padding = 4  # pixels of padding before a random crop; 0: no crop
  config.augment.horizontal_flip = True
  config.augment.vertical_flip = False  # for pictures seen from above
  config.augment.quarter_turns = False  # likewise; needs square pictures
  config.augment.resized_crop_min_area = 0.0  # least share of the area that a random resized crop keeps; 0: none
  config.augment.brightness = 0.0  # largest relative change of each channel's brightness
  config.augment.contrast = 0.0  # and contrast
  config.augment.mixup_alpha = 0.0  # of MixUp's Beta distribution; 0: no MixUp
  config.augment.cutmix_alpha = 0.0  # of CutMix's; with both, each picture gets either

  config.optimizer = ConfigDict()
  config.optimizer.name = 'sgd'  # sgd or adamw
  config.optimizer.learning_rate = 0.1  # the highest; a cosine takes it to 0
  config.optimizer.momentum = 0.9  # adamw: decay of the first moment
  config.optimizer.weight_decay = 5e-4
  config.optimizer.decay_all = False  # decay norms and biases too
  config.optimizer.warmup_epochs = 0.5  # epochs of linear warm-up, may be a fraction
  config.optimizer.stepped_per_epoch = False  # hold the learning rate during an epoch

  config.train = ConfigDict()
  config.train.epochs = 6
  config.train.batch_size = 64  # of all devices together
  config.train.seed = 0
  config.train.label_smoothing = 0.1
  config.train.precision = 'auto'  # float32, bfloat16, or auto: bfloat16 on GPU and TPU
  config.train.on_nonfinite = 'stop'  # when loss, gradient or a parameter is not finite; skip: leave that step out
  config.train.nonfinite_limit = 10  # steps that may be skipped before the run stops all the same
  config.train.deterministic = False  # on GPUs: the same bits in every run, by slower kernels
  config.train.init_from = ''  # run folder whose best weights to start from, as far as they fit

  config.checkpoint = ConfigDict()  # changes no result: may differ when a run goes on; an epoch's end is always saved
  config.checkpoint.every_steps = 0  # also after so many steps; 0: not
  config.checkpoint.every_minutes = 10.0  # also when so many minutes have passed since the last; 0: not

  config.evaluation = ConfigDict()  # changes no training: may differ when a run is looked at again
  config.evaluation.sampled_subsets = 100  # --mode subsets above 8 channels: others beside singles and all but one
  config.evaluation.seed = 0  # of their choice

  config.runtime = ConfigDict()  # changes no result: may differ when a run goes on
  config.runtime.devices = 0  # how many of the local devices, of each process; 0: all
  config.runtime.join_timeout = 300  # seconds in which all processes of a run must have started
  config.runtime.heartbeat_timeout = 100  # seconds after which a process that is not heard is taken for dead
  config.runtime.gather = 'auto'  # resident: the set lies on the devices; streamed: it is read as needed; auto: by size
  config.runtime.cache = ''  # folder for packed sets and compiled programs; empty: the user's cache folder
  return config


def select_data(config: ConfigDict, variant: str) -> None:
  """Turns to another data set-up; `mini_imagenet` is the report's, with its recipe."""
  if variant == 'shapes':
    return
  if variant == 'mini_imagenet':
    config.data.source = 'folder'
    config.data.image_size = 84
    config.data.normalization = 'imagenet'
    config.channels.slots = 'R,G,B'
    config.model.num_classes = 100
    config.optimizer.update(name='sgd', learning_rate=0.1, momentum=0.9, decay_all=True, warmup_epochs=0.0,
                            stepped_per_epoch=True)
    config.train.epochs = 100
  elif variant == 'cifar10':
    config.data.source = 'tfds'
    config.data.tfds_name = 'cifar10'
    config.data.image_size = 32
    config.channels.slots = 'R,G,B'
    config.model.num_classes = 10
    config.optimizer.learning_rate = 0.1
    config.train.epochs = 30
    config.train.batch_size = 128
  else:
    raise unknown('variant', variant, VARIANTS)
