"""What data there can be, apart from everything that needs PyTorch."""

MODALITIES: tuple[str, ...] = ("images", "points", "volumes", "video", "pairs", "tables", "splats", "view_sets", "graphs")
KINDS = {  # what there is, with an example each; shown by `manyviews data`
    "a folder of images, at any depth": "PHOTOS/",
    "class folders": "PETS/cat/1.jpg PETS/dog/2.png ... as PETS",
    "split folders": "PETS/train/cat/1.jpg PETS/test/cat/2.jpg ... as PETS (train, validation, test)",
    "one image": "photo.jpg",
    "a list of files": "files.txt (one path a line), files.csv (path, label, split)",
    "WebDataset tar shards": "SHARDS/ (of .tar), train.tar, 'shard-{0000..0003}.tar'",
    "Parquet with an image column": "images.parquet, or a folder of them",
    "a Hugging Face data set": "a folder from save_to_disk, hf:ylecun/mnist, hf:NAME@CONFIG:SPLIT",
    "NumPy arrays": "x.npy, data.npz (x, y, or x_train, y_train, x_test, y_test)",
    "a torchvision data set": "torchvision:CIFAR10",
    "a name below $MANYVIEWS_DATA": "cifar10, where $MANYVIEWS_DATA/cifar10 exists",
    "the built-in sets": "builtin (pictures), builtin:points, builtin:volumes, builtin:video, builtin:tables, builtin:graphs ...",
    "point clouds": "a folder or file of .ply .off .obj .stl .npy .las .pcd .xyz .h5; ModelNet40, ScanObjectNN, ShapeNetPart as published",
    "Gaussian splats": "a folder or file of .ply as 3DGS writes them, ShapeSplat's folders; --as splats",
    "meshes, rendered to views": "MESHES/ with --as renders, or renders:MESHES,views=12,look=3diebench",
    "sets of views": "CLASS/OBJECT/1.png 2.png ..., MESHES?views=12; --as view_sets",
    "volumes": "NIfTI, DICOM series, NRRD, .mha, .npy (count, depth, height, width); --as volumes; FOLDER?spacing=1&window=-100,300&pictures=yes",
    "pictures with captions": "IMAGE.jpg beside IMAGE.txt, a .csv .tsv .jsonl .parquet of image and caption, tar shards; --as pairs",
    "graphs": "graph:MUTAG, graph:cora, cora.npz?split=0, MUTAG/ (MUTAG_A.txt ...), a folder of nodes.csv and edges.csv; --as graphs",
    "tables": "patients.csv .tsv .parquet with --as tables; FILE?label=COLUMN&categorical=a,b&drop=c says what is not seen from it",
    "video": "mp4 avi mkv webm gif, folders of frames, .npy (count, time, height, width, 3); --as video",
    "fractals, drawn on the spot": "fractals, fractals:1000,instances=5 (classes, largest number in a picture)",
    "PASS, pictures without people": "the unpacked folder, or pass:FOLDER",
    "ImagiNet, real and synthetic pictures": "the folder with its annotations, or imaginet:FOLDER",
}
